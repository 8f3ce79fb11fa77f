-- the statistics of all codes, from the rows
insert into referral_code_stats
    (code_uuid, total_uses, unique_users, last_used, kafka_partition, recent_users, recent_dates)
select code_uuid, sum(uses), count(*), max(last_used), min(kafka_partition),
       array_agg(used_by_uuid order by place) filter (where place <= 5),
       array_agg(last_used order by place) filter (where place <= 5)
from (
    select code_uuid, used_by_uuid, count(*) as uses, max(date_used) as last_used, min(kafka_partition) as kafka_partition,
           row_number() over (partition by code_uuid order by max(date_used) desc, used_by_uuid desc) as place
    from referral_usages
    group by code_uuid, used_by_uuid
) as used
group by code_uuid
