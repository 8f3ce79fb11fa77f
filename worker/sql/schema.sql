-- The whole schema as it stands; a test holds it equal to the migrations, summed.

create table referral_migrations (
    version integer primary key,
    name text not null,
    applied_at timestamptz not null default now()
);

-- one row a usage; columns in an order that needs no padding
create table referral_usages (
    uuid uuid not null,
    code_uuid uuid not null,
    used_by_uuid uuid not null,
    date_used timestamptz not null,
    kafka_offset bigint not null,
    kafka_partition integer not null,
    first_use boolean not null,
    constraint referral_usages_pkey primary key (uuid)
);
-- a code's history, latest first, and its timeline, which counts first uses without a visit to the rows
create index referral_usages_code on referral_usages (code_uuid, date_used desc, uuid desc) include (first_use);
-- has this user used this code, first uses, and a user's history (which sorts that user's rows)
create index referral_usages_user on referral_usages (used_by_uuid, code_uuid);
-- usages of a period over all codes
create index referral_usages_date on referral_usages using brin (date_used);

-- statistics of a code, written in the transaction of the rows they count
create table referral_code_stats (
    code_uuid uuid primary key,
    total_uses bigint not null,
    unique_users bigint not null,
    last_used timestamptz not null,
    kafka_partition integer not null,
    recent_users uuid[] not null,
    recent_dates timestamptz[] not null
) with (fillfactor = 70); -- room for updates within the page: no index holds what changes
-- a partition's statistics, loaded when it is assigned
create index referral_code_stats_partition on referral_code_stats (kafka_partition);

-- uses over time of all codes: those of a partition's rows in an hour, written in the transaction of the rows
create table referral_hours (
    kafka_partition integer not null,
    hour timestamptz not null,
    uses bigint not null,
    first_uses bigint not null,
    primary key (kafka_partition, hour)
) with (fillfactor = 70); -- the present hour is updated by every run

-- what is below next_offset is done for good; what is not never happened
create table referral_positions (
    topic text not null,
    partition integer not null,
    partition_count integer not null,
    next_offset bigint not null,
    last_timestamp bigint, -- of the record at next_offset - 1: with its digest it tells a topic that was created anew
    last_digest bytea,
    primary key (topic, partition)
);

-- records that can never be stored
create table referral_rejections (
    id uuid primary key,
    reason text not null,
    detail text not null,
    value bytea,
    value_bytes integer not null,
    key bytea,
    headers jsonb not null, -- [[name, base64 of the value or null], ...], in order
    kafka_topic text not null,
    kafka_partition integer not null,
    kafka_offset bigint not null,
    kafka_timestamp timestamptz,
    rejected_at timestamptz not null default now(),
    retried_at timestamptz,
    attempts integer not null default 0
);
-- a page of rejects, latest first, of all reasons or of one; a count for each reason
create index referral_rejections_latest on referral_rejections (rejected_at desc, id desc);
create index referral_rejections_reason on referral_rejections (reason, rejected_at desc, id desc);

-- workers as they announce themselves, every few seconds; one that is not seen for longer is gone
create table referral_workers (
    url text primary key,
    instance uuid not null, -- of the process: two processes under one URL are told apart
    version text not null,
    started_at timestamptz not null,
    seen_at timestamptz not null,
    rate double precision not null, -- usages stored a second
    partitions jsonb not null -- [{partition, position, lag, stored_up_to}, ...]
) with (fillfactor = 50); -- a row is written every other second
