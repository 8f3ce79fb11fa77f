"""What `referrals check` looks at: each thing is fine, doubtful or wrong, with what to do. Nothing is changed."""
