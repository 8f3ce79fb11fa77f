-- configure_writer -- a session that stores runs: never stuck in an open transaction, nor on somebody else's lock
select set_config('idle_in_transaction_session_timeout', '10s', false),
       set_config('lock_timeout', '3s', false),
       set_config('synchronous_commit', 'on', false),
       set_config('default_transaction_isolation', 'read committed', false),
       -- every lookup here has its index; a plan cached while the table was small must not scan it when it is large
       set_config('enable_seqscan', 'off', false);

-- create_touched -- where a run's statistics arrive by COPY, before one statement writes them
create temporary table if not exists touched_code_stats (
    code_uuid uuid not null,
    total_uses bigint not null,
    unique_users bigint not null,
    last_used timestamptz not null,
    kafka_partition integer not null,
    recent_users uuid[] not null,
    recent_dates timestamptz[] not null
) on commit delete rows;

-- start_position -- a partition's position before its first record
insert into referral_positions (topic, partition, partition_count, next_offset)
values (%(topic)s, %(partition)s, %(partition_count)s, 0)
on conflict (topic, partition) do nothing;

-- lock_position -- one writer of a partition at a time; a statement of its own, so what follows sees what it waited for
select next_offset from referral_positions where topic = %(topic)s and partition = %(partition)s for update;

-- read_snapshot -- position and statistics of one moment
set transaction isolation level repeatable read, read only;

-- read_position -- where a partition goes on, and what tells the record before
select next_offset, last_timestamp, last_digest from referral_positions
where topic = %(topic)s and partition = %(partition)s;

-- read_positions -- where the partitions go on
select partition, next_offset from referral_positions where topic = %(topic)s;

-- read_other_partition_count -- another number of partitions that positions were stored with
select partition_count from referral_positions
where topic = %(topic)s and partition_count <> %(partition_count)s
limit 1;

-- pass_over -- records that Kafka removed before they were read: nothing tells the one before the new position
update referral_positions set next_offset = %(start)s, last_timestamp = null, last_digest = null
where topic = %(topic)s and partition = %(partition)s and next_offset = %(position)s;

-- end_blockers -- ends the sessions of workers that hold a position: they are frozen, or not its owner any more
select pg_terminate_backend(activity.pid), activity.application_name, activity.state
from referral_positions as held
-- a row that is locked names the transaction that locked it
join pg_locks on pg_locks.locktype = 'transactionid' and pg_locks.granted and pg_locks.transactionid = held.xmax
join pg_stat_activity as activity on activity.pid = pg_locks.pid
where held.topic = %(topic)s and held.partition = %(partition)s
  and activity.pid <> pg_backend_pid()
  and activity.datname = current_database()
  and activity.usename = session_user
  and starts_with(activity.application_name, %(application)s);

-- read_partition_stats -- the statistics of a partition's codes, in the server's binary formats
select uuid_send(code_uuid), total_uses, unique_users, (extract(epoch from last_used) * 1000000)::bigint,
       array_send(recent_users), array_send(recent_dates)
from referral_code_stats
where kafka_partition = %(partition)s;

-- find_used -- which of these (code, user) pairs have a stored usage, by their places from 1
select pair.place::integer
from unnest(%(codes)s, %(users)s) with ordinality as pair (code_uuid, used_by_uuid, place)
where exists (
    select from referral_usages
    where referral_usages.used_by_uuid = pair.used_by_uuid and referral_usages.code_uuid = pair.code_uuid
);

-- read_pairs -- the (code, user) pairs that come after one, in the order of referral_usages_user, and their partitions
select referral_code_stats.kafka_partition, uuid_send(page.code_uuid) || uuid_send(page.used_by_uuid)
from (
    select code_uuid, used_by_uuid
    from referral_usages
    where (used_by_uuid, code_uuid) > (%(user)s, %(code)s)
    order by used_by_uuid, code_uuid
    limit %(count)s
) as page
left join referral_code_stats using (code_uuid)
order by page.used_by_uuid, page.code_uuid;

-- find_known -- which of these usages are stored
select uuid_send(uuid) from referral_usages where uuid = any (%(uuids)s);

-- check_now -- constraints that wait for the commit speak at once
set constraints all immediate;

-- copy_usages -- a run's rows
copy referral_usages (uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition, first_use)
from stdin (format binary);

-- copy_touched -- a run's statistics
copy touched_code_stats (code_uuid, total_uses, unique_users, last_used, kafka_partition, recent_users, recent_dates)
from stdin (format binary);

-- write_stats -- the touched statistics as absolute values: the position's lock makes this partition their only writer
insert into referral_code_stats
    (code_uuid, total_uses, unique_users, last_used, kafka_partition, recent_users, recent_dates)
select code_uuid, total_uses, unique_users, last_used, kafka_partition, recent_users, recent_dates
from touched_code_stats
on conflict (code_uuid) do update
set total_uses = excluded.total_uses,
    unique_users = excluded.unique_users,
    last_used = excluded.last_used,
    kafka_partition = excluded.kafka_partition,
    recent_users = excluded.recent_users,
    recent_dates = excluded.recent_dates;

-- write_hours -- adds a run's uses to their hours; the position's lock makes this partition their only writer
insert into referral_hours (kafka_partition, hour, uses, first_uses)
select %(partition)s, to_timestamp(counted.hour * 3600), counted.uses, counted.first_uses
from unnest(%(hours)s::bigint[], %(uses)s::bigint[], %(first_uses)s::bigint[]) as counted (hour, uses, first_uses)
on conflict (kafka_partition, hour) do update
set uses = referral_hours.uses + excluded.uses,
    first_uses = referral_hours.first_uses + excluded.first_uses;

-- write_reject -- a record that can never be stored; a replay inserts nothing
insert into referral_rejections
    (id, reason, detail, value, value_bytes, key, headers, kafka_topic, kafka_partition, kafka_offset, kafka_timestamp)
values
    (%(id)s, %(reason)s, %(detail)s, %(value)s, %(value_bytes)s, %(key)s, %(headers)s,
     %(topic)s, %(partition)s, %(offset)s, %(timestamp)s)
on conflict (id) do nothing;

-- write_reject_again -- a retry that failed goes back to its row, which stays as it was first published; the clock is
-- read after the row's lock, so that the date is never before the retry's, however the two transactions overlap
insert into referral_rejections
    (id, reason, detail, value, value_bytes, key, headers, kafka_topic, kafka_partition, kafka_offset, kafka_timestamp,
     retried_at, attempts)
values
    (%(id)s, %(reason)s, %(detail)s, %(value)s, %(value_bytes)s, %(key)s, %(headers)s,
     %(topic)s, %(partition)s, %(offset)s, %(timestamp)s, now(), %(attempt)s)
on conflict (id) do update
set reason = excluded.reason,
    detail = excluded.detail,
    rejected_at = clock_timestamp(),
    -- what published it may have died before it noted the retry, and a forged number counts as one
    retried_at = case
        when excluded.attempts > referral_rejections.attempts then now() else referral_rejections.retried_at
    end,
    attempts = greatest(referral_rejections.attempts, least(excluded.attempts, referral_rejections.attempts + 1))
-- of other bytes: its headers are forged
where referral_rejections.value is not distinct from excluded.value;

-- delete_retried -- a retried reject that is stored, or a duplicate, is none any more; of the same bytes, whoever says so
delete from referral_rejections where id = %(id)s and value is not distinct from %(value)s;

-- move_position -- what is below is done for good
update referral_positions
set next_offset = %(next_offset)s, last_timestamp = %(last_timestamp)s, last_digest = %(last_digest)s
where topic = %(topic)s and partition = %(partition)s;

-- read_foreign_topic -- a topic other than ours whose positions this database holds
select topic from referral_positions where topic <> %(topic)s order by topic limit 1;

-- read_schema_version -- the newest migration applied
select max(version) from referral_migrations;

-- has_migrations -- whether any migration was ever applied
select to_regclass('referral_migrations') is not null;

-- lock_migrations -- several workers may start at once; the number is this lock's name, nothing more
select pg_advisory_xact_lock(7236523455);

-- note_migration -- remembers an applied migration
insert into referral_migrations (version, name) values (%(version)s, %(name)s);
