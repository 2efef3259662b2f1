"""What the operator writes of who may ask: keys with their names, and web pages of other origins."""

import hashlib
import re

NAME = re.compile(r"[A-Za-z0-9_.-]+")
KEY = re.compile(r"[!-+\--~]{16,}")  # what can be seen of ASCII, but for the comma
ORIGIN = re.compile(r"\*|https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]+)?")


def read_keys(text: str) -> dict[str, bytes]:
    """Return the digest of each key by its name.

    Args:
        text: Names and keys, as name=key,name2=key2.

    Raises:
        ValueError: It is not that. What it says holds no part of a key.
    """
    keys: dict[str, bytes] = {}
    for place, entry in enumerate(text.split(","), start=1):
        name, _, key = entry.partition("=")
        if not NAME.fullmatch(name) or not KEY.fullmatch(key):
            raise ValueError(
                f"Entry {place} is not name=key. Write name=key,name2=key2: names of letters, digits and "
                "_.-, keys of at least 16 characters of ASCII without commas and spaces. Or leave it unset; "
                "then everybody may ask."
            )
        if name in keys or digest(key.encode()) in keys.values():
            raise ValueError(f"Entry {place} has the name or the key of one before it. Give each its own.")
        keys[name] = digest(key.encode())
    return keys


def read_origins(text: str) -> list[str]:
    """Return origins of web pages, one of which may be *, for any.

    Raises:
        ValueError: One of them is none.
    """
    origins = text.split(",")
    for origin in origins:
        if not ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is no origin. Write them as a browser sends them, https://example.org or "
                "http://localhost:8080, with commas and no spaces between them; or * for all."
            )
    return origins


def digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
