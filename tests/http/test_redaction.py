"""Redaction of secrets, parts of them, and user names and passwords in URLs, in bounded time."""

from asyncio import CancelledError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import DecodeError, ProtocolError
from itnio_voice._http.redaction import redact_error, redact_secrets, redact_users, without_frames
from itnio_voice._model.printable import Message

SECRET = "kD83hfGq0ZpLw72nBvTy5RxUe9sMaJc4"
PART = 6


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("why", "why"),
        (SECRET, "***"),
        (f"a {SECRET.upper()} b {SECRET[3:12]}", "a *** b ***"),
        (f"{SECRET}{SECRET}", "***"),
        (SECRET[:5], SECRET[:5]),
        (f"İ {SECRET} ΣΑΣ", "İ *** ΣΑΣ"),
    ],
)
def test_parts_of_secrets_are_redacted(text: str, shown: str) -> None:
    """Six consecutive characters of a secret are redacted, in upper and lower case."""
    assert shown == redact_secrets(text, [SECRET])


@given(st.text(max_size=40), st.text(min_size=1, max_size=20), st.integers(0, 20), st.text(max_size=40))
def test_no_part_of_any_secret_is_left(before: str, secret: str, at: int, after: str) -> None:
    """Holds for any secret and text around it; a secret shorter than a part is redacted completely."""
    length = min(PART, len(secret))
    part = secret[min(at, len(secret) - length) :][:length]
    shown = redact_secrets(f"{before}{part}{after}", [secret])

    assert "***" in shown
    left = shown.replace("***", "\0")
    assert part not in left or "\0" in part


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://a.example/b", "see https://a.example/b"),
        ("http://user:pass@proxy:1 failed", "http://***@proxy:1 failed"),
        ("'socks5://user:p@ss:w/ord@proxy'", "'socks5://***@proxy'"),
        ("a@b.example", "a@b.example"),
        ("a@b c://d e@f", "a@b c://d e@f"),
    ],
)
def test_users_and_passwords_of_urls_are_redacted(text: str, shown: str) -> None:
    """User names and passwords are redacted, and nothing else."""
    assert shown == redact_users(text)


def test_a_large_value_with_a_secret_is_cut() -> None:
    """The redacted text is bounded, for any size and any number of secrets in it."""
    error = DecodeError("m", value=[SECRET * 1000, "a" * 10_000])
    redact_error(error, [SECRET])
    assert "['***" == error.value[:5]
    assert len(error.value) <= 10_000
    large = {"a": "b" * 50_000}
    error = DecodeError("m", value=large)
    redact_error(error, [SECRET])

    assert large is error.value


def test_only_the_quotes_of_a_message_are_redacted() -> None:
    """The library's own words remain, even if they are a secret; the text of other errors is redacted completely."""
    error = ProtocolError(Message("the secret is {what}", what="the secret"), excerpt="the secret")
    redact_error(error, ["secret"])
    assert ("the secret is the ***", "the ***") == (str(error), error.excerpt)
    error = ProtocolError("the secret")
    redact_error(error, ["secret"])

    assert "the ***" == str(error)


def test_the_text_of_a_cancellation_is_kept() -> None:
    """The event loop's library finds out from it which scope was cancelled."""
    error = CancelledError("Cancelled via cancel scope 7f")

    assert ("Cancelled via cancel scope 7f",) == without_frames(error, ["my-cancel-key", "s"], None).args
