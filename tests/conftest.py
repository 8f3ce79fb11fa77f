"""The fixtures, one plugin file for each concern."""

import signal

pytest_plugins = ["fix_postgres", "fix_kafka", "fix_worker", "fix_faults", "fix_proxy", "fix_web"]

# a run in the background is started with interrupts ignored, and so would be what its tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)
