"""Limits that are settings, as they are where nobody has set them."""

MAX_PIXELS = 50_000_000  # width times height of one image
MAX_SIDE = 30_000
