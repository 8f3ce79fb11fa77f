-- whether anything is stored, and how many of the partitions' last events: asked often, so it must cost next to nothing
select exists (select from referral_usages),
       (select count(*) from referral_usages where uuid = any (%(last_ids)s));
