"""The HTTP service: endpoints, middleware, and the scheduling of requests, without BentoML."""

__version__ = "0.1.0"
