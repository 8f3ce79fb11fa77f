-- Statements of those who look at rejects and publish them again.

-- read_rejections -- a page, latest first, by referral_rejections_latest; a value may be large, so its start alone
select id, reason, detail, substring(value for %(preview_bytes)s) as preview, value_bytes,
       kafka_topic, kafka_partition, kafka_offset, kafka_timestamp,
       rejected_at, retried_at, attempts, coalesce(retried_at > rejected_at, false) as waiting
from referral_rejections
where (rejected_at, id) < (%(before)s, %(before_id)s)
order by rejected_at desc, id desc
limit %(count)s;

-- read_rejections_of_reason -- the same of one reason, by referral_rejections_reason
select id, reason, detail, substring(value for %(preview_bytes)s) as preview, value_bytes,
       kafka_topic, kafka_partition, kafka_offset, kafka_timestamp,
       rejected_at, retried_at, attempts, coalesce(retried_at > rejected_at, false) as waiting
from referral_rejections
where reason = %(reason)s
    and (rejected_at, id) < (%(before)s, %(before_id)s)
order by rejected_at desc, id desc
limit %(count)s;

-- read_whole_rejections -- rejects with all of their bytes; for a few at a time
select id, reason, detail, value, value_bytes, key, headers,
       kafka_topic, kafka_partition, kafka_offset, kafka_timestamp,
       rejected_at, retried_at, attempts, coalesce(retried_at > rejected_at, false) as waiting
from referral_rejections
where id = any (%(ids)s)
order by rejected_at desc, id desc;

-- count_rejections -- how many of each reason, and the latest of them, by referral_rejections_reason alone
select reason, count(*) as count, max(rejected_at) as latest
from referral_rejections
group by reason
order by count(*) desc, reason;

-- allow_change -- this transaction of a session that only reads may write
set transaction read write;

-- mark_retried -- a retry was published; not when its record was faster, and has come back with this number already
update referral_rejections
set retried_at = now(), attempts = %(attempt)s
where id = %(id)s and attempts < %(attempt)s;
