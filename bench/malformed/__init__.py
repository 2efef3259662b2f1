"""Malformed requests of many kinds, and the answer that each should get."""

from bench.malformed import archives, fields, forms, images, messages, targets  # noqa: F401 - each adds to KINDS
from bench.malformed.kinds import KINDS, Kind

__all__ = ["KINDS", "Kind"]
