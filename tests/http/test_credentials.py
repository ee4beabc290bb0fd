"""Credentials and signatures."""

import pickle

import pytest

from itnio_voice import Credentials
from itnio_voice._http.credentials import sign


def test_the_vendors_example_is_reproduced() -> None:
    """The vendor's worked example is reproduced; fractions of a second are dropped."""
    signature = sign(Credentials("bDqJFiq9", "7bz1lzh9"), 1630468800.9)

    assert "05d7a50893e22a5c4bb3216ae3396c7c" == signature.digest
    assert ("bDqJFiq9", "1630468800") == (signature.api_key, signature.timestamp)


@pytest.mark.parametrize(
    ("key", "secret", "at", "digest"),
    [
        ("key", "secret", 1700000000.5, "7aabd71b55c81890b0fbc6f1dc480ee8"),
        ("k", "пароль", 0, "50548769b95d602d6f5df4106ed8f010"),
    ],
)
def test_known_signatures_are_reproduced(key: str, secret: str, at: float, digest: str) -> None:
    """A signature is the lower-case hexadecimal MD5 of key, secret and whole seconds, joined as UTF-8."""
    assert digest == sign(Credentials(key, secret), at).digest


def test_credentials_are_values() -> None:
    """They compare by secret too, and can be pickled for another process."""
    credentials = Credentials("key", "secret")

    assert credentials == pickle.loads(pickle.dumps(credentials))  # noqa: S301
    assert credentials != Credentials("key", "other")


def test_a_secret_that_cannot_be_encoded_is_refused() -> None:
    """It is refused at construction, not when a request is signed."""
    with pytest.raises(ValueError, match="api_secret"):
        Credentials("key", "se\udcffcret")


def test_no_repr_contains_a_secret() -> None:
    """Neither secret nor digest is in a repr, and there is no `__dict__`."""
    credentials = Credentials("bDqJFiq9", "7bz1lzh9")
    signature = sign(credentials, 0)

    assert "Credentials(api_key='bDqJFiq9')" == repr(credentials)
    assert "Signature(api_key='bDqJFiq9', timestamp='0')" == repr(signature)
    for value in (credentials, signature):
        with pytest.raises(TypeError):
            vars(value)


@pytest.mark.parametrize(
    ("key", "secret", "message"),
    [
        ("", "s", "api_key is empty"),
        ("k", "", "api_secret is empty"),
        (" k", "s", "api_key has spaces"),
        ("k", "s\n", "api_secret has spaces"),
        (None, "s", "api_key"),
        ("k", 5, "api_secret"),
        ("schlüssel", "s", "header"),
        ("a\nb", "s", "header"),
    ],
)
def test_invalid_credentials_are_refused(key: str, secret: str, message: str) -> None:
    """Empty or badly copied credentials are refused, and the secret is not shown."""
    with pytest.raises(ValueError, match=message) as caught:
        Credentials(key, secret)

    assert repr(secret) not in str(caught.value)
    assert Credentials("k", "пароль")
