-- Statements of `referrals check`.

-- read_server -- who answers, and whether it takes writes
select current_setting('server_version') as version,
       current_database() as database,
       current_user as role,
       pg_is_in_recovery() as is_standby,
       current_setting('transaction_read_only')::boolean as is_read_only,
       has_database_privilege(current_database(), 'temporary') as may_create_temporary;

-- find_missing_privileges -- what this role lacks of what a worker does, on the tables that are there
select needed.privilege || ' on ' || needed.name
from (
    values
        ('referral_migrations', 'select'),
        ('referral_usages', 'select'),
        ('referral_usages', 'insert'),
        ('referral_code_stats', 'select'),
        ('referral_code_stats', 'insert'),
        ('referral_code_stats', 'update'),
        ('referral_hours', 'select'),
        ('referral_hours', 'insert'),
        ('referral_hours', 'update'),
        ('referral_positions', 'select'),
        ('referral_positions', 'insert'),
        ('referral_positions', 'update'),
        ('referral_rejections', 'select'),
        ('referral_rejections', 'insert'),
        ('referral_rejections', 'update'),
        ('referral_rejections', 'delete'),
        ('referral_workers', 'select'),
        ('referral_workers', 'insert'),
        ('referral_workers', 'update'),
        ('referral_workers', 'delete')
) as needed (name, privilege)
where not has_table_privilege(to_regclass(needed.name), needed.privilege)
order by needed.name, needed.privilege;

-- read_partition_counts -- the numbers of partitions that a topic's positions were stored with: one, if all is well
select distinct partition_count from referral_positions where topic = %(topic)s order by partition_count;
