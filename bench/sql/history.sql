-- usages within some days, a fifth of them of the first code; the rest even over codes and users
insert into referral_usages (uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition, first_use)
select gen_random_uuid(), code.uuid, md5('user ' || made.user_number)::uuid, made.date_used, made.number, code.partition,
       row_number() over (partition by code.uuid, made.user_number order by made.number) = 1
from (
    select number, case when number %% 5 = 0 then 0 else 1 + (random() * (%(codes)s - 2))::integer end as code_number,
           (random() * %(users)s)::integer as user_number,
           now() - random() * make_interval(days => %(days)s) as date_used
    from generate_series(1, %(count)s) as number
) as made
join bench_codes as code on code.number = made.code_number
