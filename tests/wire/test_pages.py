"""Requests for pages, and pages as values."""

import json
from datetime import timedelta

import attrs
import pytest

from itnio_voice import Page, VoiceRecord, Window
from itnio_voice._wire.pages import PageRequest

from ..model.test_windows import START

WINDOW = Window(START, START + timedelta(days=1))


def test_the_body_of_a_request_is_the_vendors() -> None:
    """The body is the vendor's: whole seconds in +08:00, and filters beside the times."""
    body = json.loads(PageRequest(WINDOW, 2, 20, {"phoneName": "a"}).body())
    times = {"strTime": "2026-01-01T08:00:00+08:00", "endTime": "2026-01-02T08:00:00+08:00"}

    assert {"current": 2, "size": 20, "params": times | {"phoneName": "a"}} == body


def test_a_page_is_a_value() -> None:
    """Pages with the same content are equal, and frozen."""
    page = Page((VoiceRecord(voice_id="1"),), 1, 100, 1, 1)

    assert page == attrs.evolve(page)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        page.total = 2  # type: ignore[misc]
