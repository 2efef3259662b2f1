"""`python -m bench.power`: how often the drift tests find a shift of MNIST."""
