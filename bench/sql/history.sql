-- usages within some days, even over codes and users, but for those that go to the first code
insert into referral_usages (uuid, code_uuid, used_by_uuid, date_used, kafka_offset, kafka_partition, first_use)
select gen_random_uuid(), code.uuid, md5('user ' || made.user_number)::uuid, made.date_used, made.number, code.partition,
       row_number() over (partition by code.uuid, made.user_number order by made.number) = 1
from (
    select number,
           case when number %% %(popular_every)s::integer = 0 then 0 else floor(random() * %(codes)s)::integer end
               as code_number,
           floor(random() * %(users)s)::integer as user_number,
           %(until)s::timestamptz - random() * make_interval(days => %(days)s) as date_used
    from generate_series(1, %(count)s) as number
) as made
join bench_codes as code on code.number = made.code_number
