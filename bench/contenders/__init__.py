"""The contenders: each is whole in one file, so that a reader sees what is compared."""
