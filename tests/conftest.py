"""The fixtures, one plugin file for each concern."""

pytest_plugins = ["fix_postgres", "fix_kafka", "fix_worker", "fix_faults", "fix_proxy", "fix_web"]
