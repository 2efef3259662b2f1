"""Training: data in, a model in the BentoML store out. Serving never imports this package."""
