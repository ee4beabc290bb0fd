"""The addresses of files on other hosts: which ones are accepted, and how they are shown. Pure."""

from types import ModuleType
from typing import Any

import attrs

from .._http.request import has_host, is_loopback
from .._model.errors import ProtocolError
from .._model.printable import Message, printable

__all__ = ["Address"]

_LONGEST = 8000


@attrs.frozen(str=False)
class Address:
    """The URL of a file. As text it has only the scheme and the host: the rest of a URL may be a signature."""

    url: Any = attrs.field(repr=False)
    """The URL, as the HTTP library has parsed it that will send the request."""
    allows_http: bool

    @classmethod
    def parse(cls, text: str, library: ModuleType, *, allows_http: bool) -> "Address":
        """Return the address for a URL that an API or a redirect has named.

        Plain http is accepted to this machine only, and only if `allows_http`: if the API is on this machine too.

        Raises:
            ProtocolError: if the URL is invalid, contains a user name or password, or would send data unencrypted.
        """
        parsed = _parsed(text, library)
        if parsed is None or not has_host(parsed):
            message = "the URL of the recording is invalid"
            raise ProtocolError(message)
        address = cls(parsed, allows_http)
        if parsed.userinfo:
            message = "the URL of the recording contains a user name or password, which is not accepted: {address}"
            raise ProtocolError(Message(message, address=address))
        is_local_http = parsed.scheme == "http" and allows_http and is_loopback(parsed.host)
        if parsed.scheme != "https" and not is_local_http:
            message = "the URL of the recording must be https, not {address}"
            raise ProtocolError(Message(message, address=address))
        return address

    def redirected(self, location: str, library: ModuleType) -> "Address":
        """Return the address to which an answer with a `Location` header redirects.

        Raises:
            ProtocolError: in the cases of `parse`.
        """
        target = _parsed(location, library)
        joined = "" if target is None else location if target.scheme else str(self.url.join(target))
        return self.parse(joined, library, allows_http=self.allows_http)

    def __str__(self) -> str:
        return printable(f"{self.url.scheme}://{self.url.netloc.decode('ascii')}", 200)


def _parsed(text: str, library: ModuleType) -> Any:
    """Return a URL as the HTTP library parses it: another parser might find another host. None if it is invalid."""
    # A backslash is a slash to some parsers.
    if len(text) > _LONGEST or not text.isprintable() or "\\" in text:
        return None
    # For most invalid hosts an InvalidURL is raised, for some an error of the idna library.
    try:
        url = library.URL(text)
        _ = url.host, url.port
    except Exception:  # noqa: BLE001 -- with any error, the URL cannot be used
        return None
    return url
