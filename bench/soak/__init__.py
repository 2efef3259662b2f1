"""`python -m bench.soak`: good and bad traffic on one service for a long time."""
