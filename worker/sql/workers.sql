-- Workers as they announce themselves. All times are the database's, so clocks of workers need not agree.

-- configure_announcer -- a session that waits for nothing and nobody for long
select set_config('statement_timeout', '5s', false),
       set_config('idle_in_transaction_session_timeout', '10s', false),
       set_config('synchronous_commit', 'off', false);

-- forget_workers -- those that ended without a word, long ago
delete from referral_workers where seen_at < now() - interval '1 hour';

-- announce_worker -- no row comes back when another process is seen under this URL
with held as (
    select partition, position, lag,
           case
               when lag is null then null
               -- everything published until the broker was asked is stored
               when lag = 0 then now() - make_interval(secs => age_s)
               when last_timestamp >= 0 then least(now(), to_timestamp(last_timestamp / 1000.0))
           end as stored_up_to
    from unnest(%(partitions)s::integer[], %(positions)s::bigint[], %(lags)s::bigint[], %(ages_s)s::float8[])
        as progress (partition, position, lag, age_s)
    left join (
        select partition, last_timestamp from referral_positions where topic = %(topic)s
    ) as stored using (partition)
)
insert into referral_workers as known (url, instance, version, started_at, seen_at, rate, partitions)
select %(url)s, %(instance)s, %(version)s, now() - make_interval(secs => %(uptime_s)s), now(), %(rate)s,
       coalesce(jsonb_agg(held order by partition), '[]')
from held
on conflict (url) do update
set instance = excluded.instance,
    version = excluded.version,
    started_at = case when known.instance = excluded.instance then known.started_at else excluded.started_at end,
    seen_at = excluded.seen_at,
    rate = excluded.rate,
    partitions = excluded.partitions
where known.instance = excluded.instance or known.seen_at < now() - make_interval(secs => %(fresh_s)s)
returning true;

-- withdraw_worker -- at a stop
delete from referral_workers where url = %(url)s and instance = %(instance)s;

-- read_workers -- those seen of late
select url, version, started_at, seen_at, rate, partitions
from referral_workers
where seen_at > now() - interval '10 s'
order by url;
