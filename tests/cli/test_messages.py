"""The library's errors, in the terms of the command line."""

import errno
from pathlib import Path

import pytest

import itnio_voice
from itnio_voice._model.errors import ServerError, TimeRangeError
from itnio_voice.cli.app import run
from itnio_voice.cli.messages import WORDS, UsageError, message_of


def test_each_phrase_is_used_by_the_library() -> None:
    """A phrase that the library no longer uses would not be translated."""
    modules = [path.read_text() for path in Path(itnio_voice.__file__).parent.rglob("*.py")]
    spelled = {"concurrency must be": "{attribute.name} must be", "rate must be": "{attribute.name} must be"}

    assert [] == [phrase for phrase in WORDS if not any(spelled.get(phrase, phrase) in text for text in modules)]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (UsageError("rate must be 1"), "--rate must be 1"),
        (ServerError("-18: busy"), "ServerError: -18: busy"),
        (TimeRangeError('-25: old (pass expired="skip")'), "TimeRangeError: -25: old (pass --expired skip)"),
        (FileNotFoundError(errno.ENOENT, "No such file", "calls.csv"), "No such file (calls.csv)"),
        (OSError(errno.ENOSPC, "No space left"), "No space left: free some space, and run the command again"),
        (OSError("the destination failed"), "the destination failed"),
    ],
)
def test_each_kind_of_error_has_its_form(error: Exception, text: str) -> None:
    """An API error has its name, a system error its file, wrong usage only its text."""
    assert message_of(error).startswith(text)
    assert "expired=" not in message_of(error)


def test_notes_follow_the_text() -> None:
    """The text is followed by the note on what was being read."""
    error = ServerError("-18: busy")
    error.add_note("while reading 'eu'")

    assert "ServerError: -18: busy; while reading 'eu'" == message_of(error)


@pytest.mark.usefixtures("sandbox")
def test_a_refused_base_url_is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A base URL that is refused is named by its variable."""
    monkeypatch.setenv("ITNIO_BASE_URL", "http://api.example.com/voice")

    assert 2 == run(["records", "1d"])
    assert "ITNIO_BASE_URL must be https" in capsys.readouterr().err
