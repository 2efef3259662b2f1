"""What the endpoints need, from bytes to answers. Nothing here knows of BentoML or of training."""

__version__ = "0.1.0"
