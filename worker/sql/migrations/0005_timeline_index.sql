-- a code's timeline counts first uses: with them in its index, it need not visit the rows
drop index referral_usages_code;
create index referral_usages_code on referral_usages (code_uuid, date_used desc, uuid desc) include (first_use);
