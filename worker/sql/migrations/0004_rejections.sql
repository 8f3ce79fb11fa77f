-- a page of rejects, latest first, of all reasons or of one; a count for each reason
create index referral_rejections_latest on referral_rejections (rejected_at desc, id desc);
create index referral_rejections_reason on referral_rejections (reason, rejected_at desc, id desc);
