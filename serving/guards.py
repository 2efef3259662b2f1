"""What stands before the endpoints where the operator has said who may ask."""

from collections.abc import Collection

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from serving.middleware.api_keys import ApiKeys
from serving.middleware.request_id import REQUEST_ID
from serving.settings import Settings, read_keys, read_origins

HEALTH, METRICS = ("/livez", "/readyz", "/healthz"), "/metrics"


def guards(limits: Settings) -> list[Middleware]:
    """Return what says who may ask, as far as the operator has said so: web pages, and who has a key.

    A browser asks whether a page may before it sends a key, and shows the page only answers that say so.
    """
    origins, keys = limits.cors_origins, limits.api_keys
    found = list[Middleware]()
    if origins is not None:
        pages = Middleware(
            CORSMiddleware,
            allow_origins=read_origins(origins),
            allow_methods=("GET", "POST"),
            allow_headers=("Authorization", REQUEST_ID),
            expose_headers=(REQUEST_ID,),
        )
        found.append(pages)
    if keys is not None:
        digests = read_keys(keys.get_secret_value())
        found.append(Middleware(ApiKeys, keys=digests, public=public_paths(limits)))
    return found


def public_paths(limits: Settings) -> Collection[str]:
    """Return the paths that need no key where there are keys."""
    return (*HEALTH, METRICS) if limits.public_metrics else HEALTH
