"""What happens to a run of records, one file a step: decode, store, show; and what these are made of."""
