-- what drops the indexes of the usages, the primary key among them, and what creates them again
select case
           when pg_constraint.oid is null then format('drop index %I', index.relname)
           else format('alter table referral_usages drop constraint %I', conname)
       end,
       case
           when pg_constraint.oid is null then pg_get_indexdef(index.oid)
           else format('alter table referral_usages add constraint %I %s', conname, pg_get_constraintdef(pg_constraint.oid))
       end
from pg_index
join pg_class as index on index.oid = pg_index.indexrelid
left join pg_constraint on pg_constraint.conindid = index.oid
where pg_index.indrelid = 'referral_usages'::regclass
