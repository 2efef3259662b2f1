"""Requests that make no sense, of many kinds, and the answer that each of them is to get."""

from bench.malformed import archives, fields, forms, images, messages, targets  # noqa: F401 - each enters its kinds
from bench.malformed.kinds import KINDS, Kind

__all__ = ["KINDS", "Kind"]
