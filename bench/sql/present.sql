-- what tells the transactions that begin from now on
select pg_current_xact_id()::text::bigint
