"""The request to the API, the headers that sign it, and checking the base URL that it is sent to."""

import re
from collections.abc import Mapping
from importlib import import_module
from ipaddress import ip_address
from types import ModuleType
from typing import Any

import attrs

from .._model.printable import printable
from .._model.windows import Window
from .bodies import ENCODING
from .credentials import Signature
from .redaction import redact_users

__all__ = ["APIRequest", "base_url_problem", "check_base_url", "has_host", "is_loopback", "signed_headers"]

_CONTENT_TYPE = "application/json;charset=UTF-8"
_LONGEST_BASE_URL = 2000
_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.IGNORECASE)
_PORTS = range(1, 65536)


@attrs.frozen
class APIRequest:
    """A request to the API that is not signed yet.

    `route` is the path for reports if `path` contains an id: with its name instead. `window` and `page` are what the
    request is for, if it is for a page of records.
    """

    method: str
    path: str
    content: bytes | None = None
    params: Mapping[str, str] | None = None
    route: str | None = None
    window: Window | None = None
    page: int | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def reported(self, base_url: str) -> dict[str, Any]:
        """Return what the report of an attempt says about the request: neither ids nor filters."""
        path = self.route or self.path
        url = base_url.rstrip("/") + path
        return {"method": self.method, "path": path, "url": url, "window": self.window, "page": self.page}


def check_base_url(url: str, name: str = "base_url", library: ModuleType | None = None) -> None:
    """Refuse a base URL that is invalid, or that would send the signature unencrypted over a network.

    `name` is the caller's name for it, and `library` the HTTP library that will send the requests, by default httpx.

    Raises:
        ValueError: if it is refused.
    """
    problem = base_url_problem(url, library)
    # Raised here, so that the error has no context.
    if problem:
        message = f"{name} {problem}"
        raise ValueError(message)


def base_url_problem(url: str, library: ModuleType | None = None) -> str | None:
    """Return what is wrong with a base URL; None if it is accepted.

    The HTTP library itself parses it: another parser might find another host in the same URL.
    """
    shown = printable(redact_users(str(url)), 200)
    expected = f"must be like https://api.itniotech.com/voice, not {shown}"
    # For most invalid hosts an InvalidURL is raised, for some an error of the idna library.
    try:
        parsed = (library or import_module("httpx")).URL(url)
        host, _ = parsed.host, parsed.port
    except Exception as error:  # noqa: BLE001 -- with any error, the URL cannot be used
        return f"{expected} ({type(error).__name__})"
    # httpx would escape some of these characters, for example as %20. In a base URL they are copying mistakes.
    if len(url) > _LONGEST_BASE_URL or not url.isprintable() or re.search(r"[\s\\?#@]", url):
        return f"{expected} (spaces, control characters, @, ?, # and \\ are not accepted)"
    if parsed.scheme not in {"http", "https"} or not has_host(parsed):
        return expected
    if parsed.scheme == "http" and not is_loopback(host):
        return f"must be https, as plain http shows the signature to others: {printable(host, 200)} is not this machine"
    return None


def has_host(url: Any) -> bool:
    """Return whether a parsed URL of httpx or httpx2 has a host and a port that a request can be sent to."""
    is_valid = _HOST.fullmatch(url.raw_host.decode("ascii")) or _is_address(url.host)
    return bool(is_valid) and (url.port is None or url.port in _PORTS)


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host))
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def signed_headers(signature: Signature) -> dict[str, str]:
    """Return the headers that sign a request, describe its body, and say how its answer may be encoded."""
    return {
        "Api-Key": signature.api_key,
        "Timestamp": signature.timestamp,
        "Sign": signature.digest,
        "Content-Type": _CONTENT_TYPE,
        "Accept-Encoding": ENCODING,
    }
