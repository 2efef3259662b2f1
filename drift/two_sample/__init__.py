"""Two-sample tests: MMD with its kernels and permutations, Kolmogorov-Smirnov, and label shift."""
