"""`python -m bench.serving`: this service beside other servers of the same models."""
