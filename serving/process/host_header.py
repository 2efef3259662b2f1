"""The check of a request's Host header."""

import re
from collections.abc import Iterable

from serving.errors import MalformedRequestError

# RFC 3986, 3.2
HOST = re.compile(rb"(\[[0-9A-Za-z:._~!$&'()*+,;=%-]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]*)?")


def check_host(headers: Iterable[tuple[bytes, bytes]], version: str) -> None:
    """Refuse a request without exactly one well-formed Host header (RFC 9112, 3.2).

    Raises:
        MalformedRequestError: It has several, one that names no host, or none though it is not of HTTP/1.0.
    """
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1 and (hosts or version != "1.0"):
        raise MalformedRequestError(f"The request has {len(hosts) or 'no'} Host headers. Send one.")
    if hosts and not HOST.fullmatch(hosts[0].strip(b" \t")):
        raise MalformedRequestError(
            "The Host header names no host. Send a name or address, and perhaps a port."
        )
