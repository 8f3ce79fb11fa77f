-- what was stored from a transaction on, comparable with what was published: 56 bytes a row, in the order of the ids
select count(*),
       sha256(string_agg(
           uuid_send(uuid) || uuid_send(code_uuid) || uuid_send(used_by_uuid)
               || int8send((extract(epoch from date_used) * 1000000)::bigint),
           ''::bytea order by uuid
       ))
from referral_usages
where xmin::text::bigint >= %(since)s;
