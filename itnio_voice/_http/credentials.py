"""Credentials, and the signature of a request. Pure: the time is an argument."""

from collections.abc import Callable
from hashlib import md5

import attrs

__all__ = ["Credentials", "Signature", "credentials_problem", "is_utf8", "sign"]


def _fits_a_header(value: str) -> bool:
    return value.isascii() and value.isprintable()


def is_utf8(value: str) -> bool:
    """Return whether text can be encoded as UTF-8: it has no half of a surrogate pair."""
    # The text is not encoded to find out, because the error would hold the secret.
    return not any("\ud800" <= character <= "\udfff" for character in value)


_NAMES = ("api_key", "api_secret")
_RULES: tuple[tuple[Callable[[str], bool], str], ...] = (
    (lambda value: isinstance(value, str), "must be text"),
    (bool, "is empty"),
    (lambda value: value == value.strip(), "has spaces or line ends around it"),
)
_KEY_RULES = (*_RULES, (_fits_a_header, "has characters that no header can carry"))
_SECRET_RULES = (*_RULES, (is_utf8, "is not UTF-8 text"))


def credentials_problem(api_key: str, api_secret: str, names: tuple[str, str] = _NAMES) -> str | None:
    """Return what is wrong with a key or a secret; None if both are valid. `names` are the caller's names for them."""
    key_name, secret_name = names
    for name, value, rules in ((key_name, api_key, _KEY_RULES), (secret_name, api_secret, _SECRET_RULES)):
        for holds, problem in rules:
            if not holds(value):
                return f"{name} {problem}: copy it again from the vendor's console"
    return None


@attrs.frozen(init=False)
class Credentials:
    """An account's API key and secret; the secret is in no repr.

    Raises:
        ValueError: if the key or the secret is empty, has spaces around it, or is invalid: a key must be printable
            ASCII, a secret UTF-8 text.
    """

    api_key: str
    api_secret: str = attrs.field(repr=False)

    def __init__(self, api_key: str, api_secret: str) -> None:
        problem = credentials_problem(api_key, api_secret)
        object.__setattr__(self, "api_key", api_key)
        object.__setattr__(self, "api_secret", api_secret)
        # Error reporters record the variables of the frame that raises, so these are deleted.
        del api_key, api_secret
        if problem:
            del self
            raise ValueError(problem)


@attrs.frozen
class Signature:
    """The signature of a request: the key, the time in Unix seconds, and a digest, which is in no repr."""

    api_key: str
    timestamp: str
    digest: str = attrs.field(repr=False)


def sign(credentials: Credentials, at: float) -> Signature:
    """Sign a request that is sent at `at`, in Unix seconds.

    The vendor's rule: the MD5 of key, secret and timestamp, joined as UTF-8 text, in 32 hexadecimal digits. It does not
    cover path and body, which only TLS protects.
    """
    timestamp = str(int(at))
    text = credentials.api_key + credentials.api_secret + timestamp
    return Signature(credentials.api_key, timestamp, md5(text.encode(), usedforsecurity=False).hexdigest())
