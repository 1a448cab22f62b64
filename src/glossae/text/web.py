"""Addresses and how they are asked for: HTTP and HTTPS, with the proxies that the environment names."""

import urllib.request
from http.client import HTTPResponse
from urllib.parse import urlsplit

from glossae._version import __version__
from glossae.errors import GlossaeError
from glossae.text.lines import shown

TIMEOUT = 30.0
"""Seconds without a byte after which a server counts as gone."""


def open_url(url: str, headers: dict[str, str] | None = None, timeout: float | None = None) -> HTTPResponse:
    """Ask for `url` over HTTP or HTTPS and nothing else, whatever it is redirected to; proxies as the environment says.

    Raises:
        urllib.error.HTTPError: the server refuses.
        OSError, HTTPException, ValueError: it is not reached, or answers with something else than HTTP.
    """
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.UnknownHandler,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(url, headers={"User-Agent": f"glossae/{__version__}", **(headers or {})})
    response: HTTPResponse = opener.open(request, timeout=timeout or TIMEOUT)
    return response


def checked_address(text: str, setting: str) -> str:
    """`text` as the start of addresses, without a slash at its end.

    Raises:
        GlossaeError: it is not a plain HTTP or HTTPS address; where it holds a password, that is not shown.
    """
    try:
        parts = urlsplit(text)
        plain = (
            parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        plain = False
    if not plain or "@" in text or "?" in text or "#" in text or not text.isprintable() or " " in text:
        seen = "" if "@" in text else f" {shown(text, 100)}"
        raise GlossaeError(
            f"{setting}: is not an address{seen}: write one such as https://mirror.example/opus, without a password"
        )
    return text.rstrip("/")
