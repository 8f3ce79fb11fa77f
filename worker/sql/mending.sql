-- Statements that hold the statistics against the rows, and mend them. All but the first four are parts of one
-- transaction with one snapshot; what they work out lies in temporary tables, so memory stays small on both sides.

-- configure_mender -- a session that counts every row and may take its time, but never queues behind others for long
select set_config('statement_timeout', '12h', false),
       set_config('lock_timeout', '10s', false),
       set_config('idle_in_transaction_session_timeout', '60s', false),
       set_config('synchronous_commit', 'on', false),
       set_config('TimeZone', 'UTC', false),
       set_config('work_mem', '64MB', false);

-- create_counted -- the statistics of every code as its rows have them
create temporary table counted_code_stats (
    code_uuid uuid not null,
    total_uses bigint not null,
    unique_users bigint not null,
    last_used timestamptz not null,
    recent_users uuid[] not null,
    recent_dates timestamptz[] not null,
    unclear_pairs bigint not null -- (code, user) pairs that do not have exactly one first use
) on commit delete rows;

-- create_homes -- the partition that every code hashes to now
create temporary table code_homes (code_uuid uuid not null, partition integer not null) on commit delete rows;

-- create_compared -- what is stored of every code beside what its rows say, and the names of what is wrong
create temporary view compared_code_stats as
select home.code_uuid,
       home.partition,
       counted.total_uses,
       counted.unique_users,
       counted.last_used,
       counted.recent_users,
       counted.recent_dates,
       counted.unclear_pairs,
       stored.total_uses as stored_total_uses,
       stored.unique_users as stored_unique_users,
       stored.last_used as stored_last_used,
       stored.recent_users as stored_recent_users,
       stored.recent_dates as stored_recent_dates,
       stored.kafka_partition as stored_partition,
       array_remove(
           array[
               case when stored.code_uuid is null then 'missing' end,
               case when counted.code_uuid is null then 'superfluous' end,
               case when stored.total_uses <> counted.total_uses then 'total_uses' end,
               case when stored.unique_users <> counted.unique_users then 'unique_users' end,
               case when stored.last_used <> counted.last_used then 'last_used' end,
               case when stored.recent_users <> counted.recent_users then 'recent_users' end,
               case when stored.recent_dates <> counted.recent_dates then 'recent_dates' end,
               case
                   when counted.code_uuid is not null and stored.kafka_partition <> home.partition
                   then 'kafka_partition'
               end,
               case when counted.unclear_pairs > 0 then 'first_use' end
           ],
           null
       ) as wrong
from code_homes as home
left join counted_code_stats as counted using (code_uuid)
left join referral_code_stats as stored using (code_uuid);

-- create_counted_hours -- the uses of every hour and partition as the rows have them
create temporary table counted_hours (
    kafka_partition integer not null,
    hour timestamptz not null,
    uses bigint not null,
    first_uses bigint not null
) on commit delete rows;

-- create_wrong_hours -- hours that are not what their rows say: what is stored beside it, null where there is nothing
create temporary view wrong_hours as
select kafka_partition,
       hour,
       counted.uses,
       counted.first_uses,
       stored.uses as stored_uses,
       stored.first_uses as stored_first_uses
from counted_hours as counted
full join referral_hours as stored using (kafka_partition, hour)
where (counted.uses, counted.first_uses) is distinct from (stored.uses, stored.first_uses);

-- read_mending_snapshot -- rows and statistics of one moment; workers may go on
set transaction isolation level repeatable read, read only;

-- write_mending_snapshot -- the same for a transaction that will write
set transaction isolation level repeatable read;

-- lock_all_positions -- no run is stored until the end; taken before the snapshot, which the next statement takes
lock table referral_positions in exclusive mode;

-- read_writers -- sessions that store runs, those of frozen workers included, by their names
select distinct application_name from pg_stat_activity
where datname = current_database() and starts_with(application_name, %(writer)s)
order by application_name;

-- list_positions -- how far each partition is stored
select partition, partition_count, next_offset, last_timestamp, last_digest
from referral_positions
where topic = %(topic)s
order by partition;

-- count_codes -- the statistics of every code, from the rows alone
insert into counted_code_stats
    (code_uuid, total_uses, unique_users, last_used, recent_users, recent_dates, unclear_pairs)
select code_uuid, sum(uses), count(*), max(latest),
       array_agg(used_by_uuid order by place) filter (where place <= 5),
       array_agg(latest order by place) filter (where place <= 5),
       count(*) filter (where first_uses <> 1)
from (
    select code_uuid, used_by_uuid, uses, latest, first_uses,
           row_number() over (partition by code_uuid order by latest desc, used_by_uuid desc) as place
    from (
        select code_uuid, used_by_uuid, count(*) as uses, max(date_used) as latest,
               count(*) filter (where first_use) as first_uses
        from referral_usages
        group by code_uuid, used_by_uuid
    ) as pair
) as placed
group by code_uuid;

-- count_homeless -- how many codes `read_codes` will give, at most
select (select count(*) from counted_code_stats) + (
    select count(*) from referral_code_stats
    where not exists (select from counted_code_stats where counted_code_stats.code_uuid = referral_code_stats.code_uuid)
);

-- read_codes -- every code that has rows or statistics
select uuid_send(code_uuid) from (
    select code_uuid from counted_code_stats
    union
    select code_uuid from referral_code_stats
) as code;

-- copy_homes -- codes and the partitions they hash to
copy code_homes (code_uuid, partition) from stdin (format binary);

-- sum_up_partitions -- of each partition that codes hash to: its codes with rows, their rows, and codes that are wrong
select partition,
       count(total_uses) as codes,
       coalesce(sum(total_uses), 0)::bigint as usages,
       count(*) filter (where wrong <> '{}') as wrong
from compared_code_stats
group by partition
order by partition;

-- read_differences -- the first codes that are wrong: what is stored, what the rows say
select code_uuid, partition, wrong, unclear_pairs,
       stored_total_uses, stored_unique_users, stored_last_used, stored_recent_users, stored_recent_dates,
       stored_partition,
       total_uses, unique_users, last_used, recent_users, recent_dates
from compared_code_stats
where wrong <> '{}'
order by code_uuid
limit %(count)s;

-- count_hours -- the uses of every hour, from the rows alone, first uses as they are marked now
insert into counted_hours (kafka_partition, hour, uses, first_uses)
select kafka_partition, date_trunc('hour', date_used, 'UTC'), count(*), count(*) filter (where first_use)
from referral_usages
group by 1, 2;

-- count_wrong_hours -- how many hours are wrong
select count(*) from wrong_hours;

-- read_hour_differences -- the first hours that are wrong: what is stored, what the rows say
select kafka_partition, hour, stored_uses, stored_first_uses, uses, first_uses
from wrong_hours
order by kafka_partition, hour
limit %(count)s;

-- mend_first_uses -- of pairs without exactly one first use, the earliest usage is it
update referral_usages
set first_use = (placed.place = 1)
from (
    select uuid, row_number() over (partition by code_uuid, used_by_uuid order by date_used, uuid) as place
    from referral_usages
    join (
        select code_uuid, used_by_uuid
        from referral_usages
        where code_uuid in (select code_uuid from counted_code_stats where unclear_pairs > 0)
        group by code_uuid, used_by_uuid
        having count(*) filter (where first_use) <> 1
    ) as unclear using (code_uuid, used_by_uuid)
) as placed
where placed.uuid = referral_usages.uuid and referral_usages.first_use <> (placed.place = 1);

-- drop_superfluous -- statistics of codes without a row
delete from referral_code_stats
using compared_code_stats
where compared_code_stats.code_uuid = referral_code_stats.code_uuid
    and 'superfluous' = any (compared_code_stats.wrong);

-- mend_stats -- statistics that are wrong or missing, as the rows have them, where their codes hash
insert into referral_code_stats
    (code_uuid, total_uses, unique_users, last_used, kafka_partition, recent_users, recent_dates)
select code_uuid, total_uses, unique_users, last_used, partition, recent_users, recent_dates
from compared_code_stats
where wrong <> '{}' and total_uses is not null
on conflict (code_uuid) do update
set total_uses = excluded.total_uses,
    unique_users = excluded.unique_users,
    last_used = excluded.last_used,
    kafka_partition = excluded.kafka_partition,
    recent_users = excluded.recent_users,
    recent_dates = excluded.recent_dates;

-- forget_hours -- what was counted before first uses were mended
truncate counted_hours;

-- drop_superfluous_hours -- hours without a row
delete from referral_hours
using wrong_hours
where wrong_hours.kafka_partition = referral_hours.kafka_partition
    and wrong_hours.hour = referral_hours.hour
    and wrong_hours.uses is null;

-- mend_hours -- hours that are wrong or missing, as the rows have them
insert into referral_hours (kafka_partition, hour, uses, first_uses)
select kafka_partition, hour, uses, first_uses
from wrong_hours
where uses is not null
on conflict (kafka_partition, hour) do update
set uses = excluded.uses,
    first_uses = excluded.first_uses;

-- mend_partition_counts -- positions belong to the number of partitions that the topic has now
update referral_positions
set partition_count = %(partition_count)s
where topic = %(topic)s and partition_count <> %(partition_count)s;

-- restart_positions -- a topic that was created anew is read from its first record
update referral_positions
set next_offset = 0, last_timestamp = null, last_digest = null
where topic = %(topic)s;

-- drop_positions -- those of partitions that the topic created anew does not have
delete from referral_positions where topic = %(topic)s and partition >= %(partition_count)s;
