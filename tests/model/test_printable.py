"""The text of errors and log records: printable, and of bounded length."""

import copy
import logging
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itnio_voice import APIError, ItnioError
from itnio_voice._model.printable import LONGEST, get_logger, printable

HOSTILE = {
    "escape sequence": ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    "C1 control": ("\x9b2J", r"\x9b2J"),
    "newline": ("a\nWARNING forged", r"a\nWARNING forged"),
    "line separator": ("a\u2028b\x85c", r"a\u2028b\x85c"),
    "bidirectional override": ("\u202etxt.exe\u2066", r"\u202etxt.exe\u2066"),
    "half a surrogate pair": ("\ud800", r"\ud800"),
    "zero width": ("a\u200bb", r"a\u200bb"),
}


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_characters_that_are_not_printable_are_escaped(text: str, shown: str) -> None:
    """Escapes are those of Python."""
    assert shown == printable(text)


@pytest.mark.parametrize("text", ["", "-22: 系统错误", "a\\b 'c' “d”", "é 🎉"])
def test_printable_text_is_unchanged(text: str) -> None:
    """Text in any script is unchanged."""
    assert text == printable(text)


@given(st.text(alphabet=st.characters(exclude_categories=[]), max_size=60), st.integers(1, 80))
def test_any_text_becomes_printable_and_short(text: str, longest: int) -> None:
    """Holds for any text and limit."""
    shown = printable(text, longest)

    assert shown.isprintable()
    assert len(shown) <= longest


def test_long_text_is_cut() -> None:
    """The cut is visible."""
    assert "aaa…" == printable("aaaaa", 4)
    assert LONGEST == len(printable("\n" * 10**6))


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_the_text_of_an_error_is_printable(text: str, shown: str) -> None:
    """Copies are printable too; the error's data are unchanged."""
    error = APIError(f"-22: {text}", reason=text)
    for twin in (error, copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 -- ours
        assert f"-22: {shown}" == str(twin)
        assert text == twin.reason
    assert LONGEST == len(str(ItnioError("x" * 10**6)))


@pytest.mark.parametrize(("text", "shown"), HOSTILE.values(), ids=HOSTILE)
def test_the_text_of_a_log_record_is_printable(text: str, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    """The record's other fields are printable too."""
    logger = get_logger("itnio_voice.test_printable")
    logger.warning("%s: %d", text, 3, extra={"itnio.stream": text})
    logger.warning("plain: %d", 4)
    hostile, plain = caplog.records

    assert f"{shown}: 3" == hostile.getMessage()
    assert shown == vars(hostile)["itnio.stream"]
    assert ("plain: %d", (4,)) == (plain.msg, plain.args)
    assert logger is logging.getLogger("itnio_voice.test_printable")
