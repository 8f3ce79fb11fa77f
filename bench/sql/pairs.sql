-- (code, user) pairs, and the codes they have
select coalesce(sum(unique_users), 0)::bigint, count(*) from referral_code_stats
