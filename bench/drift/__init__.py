"""`python -m bench.drift`: the time and memory of one p-value, ours beside those of peers."""
