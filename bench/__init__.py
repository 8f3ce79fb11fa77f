"""Benchmarks: one script for each number that the project quotes; README.md says what the figures mean."""
