-- when a usage was committed, by the server's clock
select extract(epoch from pg_xact_commit_timestamp(xmin))::float8 from referral_usages where uuid = %(uuid)s
