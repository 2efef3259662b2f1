"""Benchmarks of this project beside its peers, and trials of the service: each command prints one table."""
