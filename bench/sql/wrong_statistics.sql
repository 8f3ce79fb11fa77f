-- codes whose statistics are not those of their rows, or whose users do not have exactly one first use each
with pairs as (
    select code_uuid, used_by_uuid, count(*) as uses, max(date_used) as last_used,
           count(*) filter (where first_use) as first_uses
    from referral_usages
    group by code_uuid, used_by_uuid
), placed as (
    select *, row_number() over (partition by code_uuid order by last_used desc, used_by_uuid desc) as place
    from pairs
), counted as (
    select code_uuid, sum(uses)::bigint as total_uses, count(*) as unique_users, max(last_used) as last_used,
           array_agg(used_by_uuid order by place) filter (where place <= 5) as recent_users,
           array_agg(last_used order by place) filter (where place <= 5) as recent_dates,
           bool_and(first_uses = 1) as are_first_uses_right
    from placed
    group by code_uuid
)
select count(*)
from counted
full join referral_code_stats as stats using (code_uuid)
where (counted.total_uses, counted.unique_users, counted.last_used, counted.recent_users, counted.recent_dates)
      is distinct from
      (stats.total_uses, stats.unique_users, stats.last_used, stats.recent_users, stats.recent_dates)
   or counted.are_first_uses_right is not true;
