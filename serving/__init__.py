"""What the endpoints need, from bytes to answers. Nothing here knows of BentoML or of training."""
