"""What is typed is read as it is meant, or refused with a word on how to write it."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from itnio_voice.cli.options import moment, zone_of

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("30d", NOW - timedelta(days=30)),
        ("90m", NOW - timedelta(minutes=90)),
        ("0s", NOW),
        ("2w", NOW - timedelta(weeks=2)),
        ("5h", NOW - timedelta(hours=5)),
        ("2026-09-01", datetime(2026, 8, 31, 22, tzinfo=UTC)),
        ("2026-12-01", datetime(2026, 11, 30, 23, tzinfo=UTC)),
        ("2026-09-01T08:00:00+08:00", datetime(2026, 9, 1, tzinfo=UTC)),
        ("2026-09-01T00:00Z", datetime(2026, 9, 1, tzinfo=UTC)),
        ("2026-09-01 00:00:00.5+00:00", datetime(2026, 9, 1, microsecond=500_000, tzinfo=UTC)),
    ],
)
def test_moments(text: str, expected: datetime) -> None:
    """A date is midnight in the zone, a length that long ago, and a time has an offset."""
    assert expected == moment(text, zone=BERLIN, now=NOW)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2026-09-01T08:00", "'2026-09-01T08:00' has no offset: write "),
        ("yesterday", "'yesterday' is no point in time: write "),
        ("", "'' is no point in time"),
        ("-3d", "is no point in time"),
        ("3y", "is no point in time"),
        ("999999999w", "is no point in time"),
        ("2026-02-30", "is no point in time"),
    ],
)
def test_wrong_moments(text: str, told: str) -> None:
    """What is no point in time is refused, and the error shows what is."""
    with pytest.raises(ValueError, match=told):
        moment(text, zone=UTC, now=NOW)


@pytest.mark.parametrize("name", ["Berlin", "", "../etc/passwd", "/etc/passwd"])
def test_wrong_zones(name: str) -> None:
    """A time zone that there is not is refused."""
    with pytest.raises(ValueError, match="there is no time zone"):
        zone_of(name)
