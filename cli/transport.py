"""The client's HTTP transport: the proxy and certificates of the environment that it takes."""

import os
from ipaddress import ip_address
from urllib.request import getproxies, proxy_bypass

import httpx

from cli.terminal import CommandError


def transport_to(url: str) -> httpx.HTTPTransport:
    """Return the transport to a service: through the environment's proxy for its address, or direct.

    httpx by itself reads every proxy and certificate that the environment names, needed or not, and fails for
    any address because of one that it cannot use.

    Raises:
        CommandError: The address is invalid, or its proxy or its certificates cannot be used.
    """
    address = httpx.URL(url)
    if address.scheme not in ("http", "https") or not address.host:
        raise CommandError(f"{url!r} is no address. Name one as in http://localhost:3000.")
    proxy = proxy_to(address)
    encrypted = "https" in (address.scheme, kind_of(proxy))
    try:
        return httpx.HTTPTransport(proxy=proxy, trust_env=encrypted)
    except (ValueError, ImportError, httpx.InvalidURL):
        raise CommandError(
            f"The proxy that the environment names for {address.host}, {kind_of(proxy)}://, cannot be used. "
            f"Name an HTTP proxy in {address.scheme.upper()}_PROXY, or {address.host} in NO_PROXY."
        ) from None
    except OSError as error:  # It does not name the file that was not found.
        raise CommandError(
            f"The certificates in SSL_CERT_FILE, {os.environ.get('SSL_CERT_FILE')}, cannot be used: {error}. "
            "Name a file of certificates, or unset it."
        ) from None


def proxy_to(address: httpx.URL) -> str | None:
    """Return the environment's proxy for an address; for this machine there is none."""
    if is_this_machine(address.host) or proxy_bypass(address.host):
        return None
    named = getproxies()
    proxy = named.get(address.scheme) or named.get("all")
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


def kind_of(proxy: str | None) -> str:
    return (proxy or "").partition("://")[0]


def is_this_machine(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
