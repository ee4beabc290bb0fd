"""Credentials, and the signature that every request carries. Pure: the time is an argument."""

from hashlib import md5

import attrs

__all__ = ["Credentials", "Signature", "sign"]


def _is_given(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not isinstance(value, str) or not value or value != value.strip():
        message = f"{attribute.name} is empty or has spaces around it: copy it again from the vendor's console"
        raise ValueError(message)


def _is_utf8(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    # Not by encoding it: the error of that would hold the secret.
    if any("\ud800" <= character <= "\udfff" for character in value):
        message = f"{attribute.name} is not UTF-8 text: copy it again from the vendor's console"
        raise ValueError(message)


def _fits_a_header(_: object, attribute: "attrs.Attribute[str]", value: str) -> None:
    if not (value.isascii() and value.isprintable()):
        message = f"{attribute.name} has characters that no header can carry: copy it again from the vendor's console"
        raise ValueError(message)


@attrs.frozen
class Credentials:
    """An account's API key and secret; the secret is in no repr.

    Raises:
        ValueError: for an empty key or secret, or one with spaces around it; for a key that is not plain ASCII.
    """

    api_key: str = attrs.field(validator=[_is_given, _fits_a_header])
    api_secret: str = attrs.field(validator=[_is_given, _is_utf8], repr=False)


@attrs.frozen
class Signature:
    """What proves a request ours: the key, the time in Unix seconds, and a digest, which is in no repr."""

    api_key: str
    timestamp: str
    digest: str = attrs.field(repr=False)


def sign(credentials: Credentials, at: float) -> Signature:
    """Sign a request that is sent at `at`, in Unix seconds.

    The vendor's rule: the MD5 of key, secret and timestamp, joined as UTF-8 text, in 32 hexadecimal digits. It covers
    neither path nor body, so only TLS protects those.
    """
    timestamp = str(int(at))
    text = credentials.api_key + credentials.api_secret + timestamp
    return Signature(credentials.api_key, timestamp, md5(text.encode(), usedforsecurity=False).hexdigest())
