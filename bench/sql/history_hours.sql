-- uses by hour, from the rows
insert into referral_hours (kafka_partition, hour, uses, first_uses)
select kafka_partition, date_trunc('hour', date_used, 'UTC'), count(*), count(*) filter (where first_use)
from referral_usages
group by 1, 2
