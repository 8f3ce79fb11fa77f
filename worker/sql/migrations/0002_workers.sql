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
