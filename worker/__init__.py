"""The referral usage worker: Kafka to PostgreSQL, exactly, and a view of both."""
