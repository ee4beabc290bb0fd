"""Parsing of times, durations and time zones, and errors that show the format."""

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
        ("2026-11-01 10:00", datetime(2026, 11, 1, 9, tzinfo=UTC)),
        ("2026-07-01T10:00:30", datetime(2026, 7, 1, 8, 0, 30, tzinfo=UTC)),
        ("2026-09-01 00:00:00.5+00:00", datetime(2026, 9, 1, microsecond=500_000, tzinfo=UTC)),
    ],
)
def test_times_are_parsed_in_the_zone(text: str, expected: datetime) -> None:
    """A date is midnight in the zone, a time without an offset is in the zone, and a duration is that long ago."""
    assert expected == moment(text, zone=BERLIN, now=NOW)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yesterday", "'yesterday' is not a time: write "),
        ("", "'' is not a time"),
        ("-3d", "is not a time"),
        ("3y", "is not a time"),
        ("999999999w", "is not a time"),
        ("2026-02-30", "is not a time"),
    ],
)
def test_invalid_times_are_refused(text: str, message: str) -> None:
    """A text that is not a time is refused, and the error shows the formats."""
    with pytest.raises(ValueError, match=message):
        moment(text, zone=UTC, now=NOW)


def test_missing_and_ambiguous_times_are_refused() -> None:
    """When clocks change, a time without an offset may not exist or occur twice: the error says which."""
    with pytest.raises(ValueError, match="2026-03-29 02:30:00 does not exist in Europe/Berlin"):
        moment("2026-03-29 02:30", zone=BERLIN, now=NOW)
    with pytest.raises(
        ValueError, match=r"twice .*: .* write 2026-10-25T02:30:00\+02:00 or 2026-10-25T02:30:00\+01:00"
    ):
        moment("2026-10-25 02:30", zone=BERLIN, now=NOW)
    assert datetime(2026, 10, 25, 1, 30, tzinfo=UTC) == moment("2026-10-25T02:30:00+01:00", zone=BERLIN, now=NOW)
    assert datetime(2026, 3, 29, 1, tzinfo=UTC) == moment("2026-03-29 03:00", zone=BERLIN, now=NOW)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2026-09-06", "America/Santiago", datetime(2026, 9, 6, 4, tzinfo=UTC)),
        ("2026-11-01", "America/Havana", datetime(2026, 11, 1, 4, tzinfo=UTC)),
    ],
)
def test_a_date_is_the_first_moment_of_its_day(text: str, zone: str, expected: datetime) -> None:
    """A date is the first moment of its day, also if clocks change at midnight."""
    assert expected == moment(text, zone=ZoneInfo(zone), now=NOW)


@pytest.mark.parametrize("name", ["Berlin", "", "../etc/passwd", "/etc/passwd"])
def test_unknown_time_zones_are_refused(name: str) -> None:
    """An unknown time zone is refused."""
    with pytest.raises(ValueError, match="there is no time zone"):
        zone_of(name)
