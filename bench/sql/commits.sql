-- what was stored from a transaction on, by the commit times that the server itself noted: exact, and nothing had to be
-- asked while the contender ran
with commits as (
    select pg_xact_commit_timestamp(xmin) as committed_at, count(*) as row_count
    from referral_usages
    where xmin::text::bigint >= %(since)s
    group by xmin
), first_commit as (
    select row_count from commits order by committed_at limit 1
)
select count(*) as transaction_count,
       (sum(commits.row_count) - (select row_count from first_commit))::bigint as later_row_count,
       extract(epoch from max(committed_at) - min(committed_at))::float8 as drain_s,
       extract(epoch from max(committed_at))::float8 as ended_at_s
from commits;
