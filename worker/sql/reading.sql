-- Statements that answer HTTP requests. None has an optional condition, so each has one plan: a bound that the caller
-- did not give is the end of time, and `to` and the cursor come as one row, so that the scan starts exactly there.

-- configure_reader -- a session that only reads, for requests that do not wait for ever
select set_config('statement_timeout', %s, false),
       set_config('default_transaction_read_only', 'on', false),
       set_config('TimeZone', 'UTC', false),
       -- planning takes 0.2 ms; a plan kept from when the table was small would scan it when it is large
       set_config('plan_cache_mode', 'force_custom_plan', false),
       -- compiling takes longer than any statement here
       set_config('jit', 'off', false);

-- read_code_stats -- the statistics of one code, as committed; no row when it was never used
select total_uses, unique_users, last_used, recent_users
from referral_code_stats
where code_uuid = %(code_uuid)s;

-- read_code_usages -- a page of a code's history, by referral_usages_code from where it starts
select uuid, code_uuid, used_by_uuid, date_used, first_use
from referral_usages
where code_uuid = %(code_uuid)s
    and date_used >= %(start)s
    and (date_used, uuid) < (%(before)s, %(before_uuid)s)
order by date_used desc, uuid desc
limit %(count)s;

-- read_code_usages_of_user -- the same of one user, by referral_usages_user and sorted
select uuid, code_uuid, used_by_uuid, date_used, first_use
from (
    select uuid, code_uuid, used_by_uuid, date_used, first_use
    from referral_usages
    where used_by_uuid = %(used_by_uuid)s
        and code_uuid = %(code_uuid)s
    offset 0 -- keeps the order out: for its sake the planner would walk a whole code's history in search of the user
) as used
where date_used >= %(start)s
    and (date_used, uuid) < (%(before)s, %(before_uuid)s)
order by date_used desc, uuid desc
limit %(count)s;

-- read_user_usages -- a page of a user's history, by referral_usages_user and sorted
select uuid, code_uuid, used_by_uuid, date_used, first_use
from referral_usages
where used_by_uuid = %(used_by_uuid)s
    and date_used >= %(start)s
    and (date_used, uuid) < (%(before)s, %(before_uuid)s)
order by date_used desc, uuid desc
limit %(count)s;

-- read_user_usage_uuids -- of a page of a user's history the UUIDs alone, as one text of bytes
select coalesce(string_agg(uuid_send(uuid), '' order by date_used desc, uuid desc), '') as uuids
from (
    select uuid, date_used
    from referral_usages
    where used_by_uuid = %(used_by_uuid)s
        and date_used >= %(start)s
        and (date_used, uuid) < (%(before)s, %(before_uuid)s)
    order by date_used desc, uuid desc
    limit %(count)s
) as page;

-- read_user_usage_uuids_of_code -- the same of one code
select coalesce(string_agg(uuid_send(uuid), '' order by date_used desc, uuid desc), '') as uuids
from (
    select uuid, date_used
    from (
        select uuid, date_used
        from referral_usages
        where used_by_uuid = %(used_by_uuid)s
            and code_uuid = %(code_uuid)s
        offset 0 -- as in read_code_usages_of_user
    ) as used
    where date_used >= %(start)s
        and (date_used, uuid) < (%(before)s, %(before_uuid)s)
    order by date_used desc, uuid desc
    limit %(count)s
) as page;

-- read_usages -- usages by their UUIDs, latest first
select uuid, code_uuid, used_by_uuid, date_used, first_use
from referral_usages
where uuid = any (%(uuids)s)
order by date_used desc, uuid desc;

-- read_user_code -- whether a user has used a code, how often and when, by referral_usages_user
select count(*) as uses, min(date_used) as first_used, max(date_used) as last_used
from referral_usages
where used_by_uuid = %(used_by_uuid)s
    and code_uuid = %(code_uuid)s;

-- read_totals -- of all usages; each pair of code and user has one first use
select coalesce(sum(total_uses), 0)::bigint as total_uses,
       count(*) as codes,
       coalesce(sum(unique_users), 0)::bigint as first_uses,
       (select count(*) from referral_rejections) as rejected
from referral_code_stats;

-- read_code_timeline -- usages of a code by bucket, empty ones included; a probe of referral_usages_code for each bucket,
-- and no grouping: the planner takes each date for a group of its own and would rather read the whole table
select bucket.start, counted.uses, counted.first_uses
from generate_series(%(first_bucket)s::timestamptz, %(to)s, %(width)s) as bucket (start)
cross join lateral (
    select count(*) as uses, count(*) filter (where first_use) as first_uses
    from referral_usages
    where code_uuid = %(code_uuid)s
        and date_used >= greatest(bucket.start, %(start)s)
        and date_used < least(bucket.start + %(width)s, %(to)s)
) as counted
where bucket.start < %(to)s
order by bucket.start;

-- read_timeline -- usages of all codes by bucket, empty ones included, from the counts of whole hours
with counted as (
    select date_bin(%(width)s, hour, %(first_bucket)s) as start,
           sum(uses)::bigint as uses, sum(first_uses)::bigint as first_uses
    from referral_hours
    where hour >= date_trunc('hour', %(start)s::timestamptz)
        and hour < %(to)s
    group by 1
)
select bucket.start, coalesce(counted.uses, 0) as uses, coalesce(counted.first_uses, 0) as first_uses
from generate_series(%(first_bucket)s::timestamptz, %(to)s, %(width)s) as bucket (start)
left join counted using (start)
where bucket.start < %(to)s
order by bucket.start;

-- read_known_as -- whether a UUID was used as a code, and whether it was used by
select exists (select from referral_code_stats where code_uuid = %(uuid)s) as code,
       exists (select from referral_usages where used_by_uuid = %(uuid)s) as user;

-- read_user_codes -- a page of the codes that a user has used, the one used last first; by referral_usages_user
select code_uuid, count(*) as uses, min(date_used) as first_used, max(date_used) as last_used
from referral_usages
where used_by_uuid = %(used_by_uuid)s
group by code_uuid
having (max(date_used), code_uuid) < (%(before)s, %(before_uuid)s)
order by last_used desc, code_uuid desc
limit %(count)s;

-- read_usage -- one usage and where it was stored from; a database's rows come from one topic
select uuid, code_uuid, used_by_uuid, date_used, first_use,
       %(topic)s as topic, kafka_partition as partition, kafka_offset as "offset"
from referral_usages
where uuid = %(uuid)s;

-- read_top_codes -- the most used codes; reads all statistics, whose changing columns no index holds
select code_uuid, total_uses, unique_users, last_used
from referral_code_stats
order by total_uses desc, code_uuid
limit %(count)s;

-- read_recent_usages -- the latest usages of all codes: they belong to the codes used last, so a few index probes do
select latest.uuid, latest.code_uuid, latest.used_by_uuid, latest.date_used, latest.first_use
from (
    select code_uuid
    from referral_code_stats
    order by last_used desc
    limit %(count)s
) as code
cross join lateral (
    select uuid, code_uuid, used_by_uuid, date_used, first_use
    from referral_usages
    where referral_usages.code_uuid = code.code_uuid
    order by date_used desc, uuid desc
    limit %(count)s
) as latest
order by latest.date_used desc, latest.uuid desc
limit %(count)s;
