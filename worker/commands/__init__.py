"""What `referrals` can do: one file for each command or group of commands, put together by `worker.cli`."""
