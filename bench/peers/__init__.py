"""Other servers of the same models, and the environment that they run in."""
