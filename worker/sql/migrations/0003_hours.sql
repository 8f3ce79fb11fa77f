-- uses over time of all codes: those of a partition's rows in an hour, written in the transaction of the rows
create table referral_hours (
    kafka_partition integer not null,
    hour timestamptz not null,
    uses bigint not null,
    first_uses bigint not null,
    primary key (kafka_partition, hour)
) with (fillfactor = 70); -- the present hour is updated by every run

insert into referral_hours (kafka_partition, hour, uses, first_uses)
select kafka_partition, date_trunc('hour', date_used, 'UTC'), count(*), count(*) filter (where first_use)
from referral_usages
group by 1, 2;
