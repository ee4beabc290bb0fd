"""The table of record kinds."""

from typing import Any

import attrs
import pytest

from itnio_voice import SipRecord, VoiceRecord
from itnio_voice.endpoints import ENDPOINTS, RECORDING_URL, Endpoint, endpoint_of
from itnio_voice.models import CallRecord


@pytest.mark.parametrize(
    ("of", "query", "single", "filters"),
    [
        (VoiceRecord, "/recordGroupQuery", "/recordGroup/", {}),
        (SipRecord, "/recordSipQuery", "/recordSip/", {"sip_group_name": "sipGroupName", "phone_name": "phoneName"}),
    ],
)
def test_the_vendors_paths(of: type[CallRecord], query: str, single: str, filters: dict[str, str]) -> None:
    """Each record class is read from the vendor's paths, by the vendor's filters."""
    assert Endpoint(query, single, filters) == endpoint_of(of)
    assert {VoiceRecord, SipRecord} == set(ENDPOINTS)
    assert "/getRecordingFileUrl" == RECORDING_URL


def test_classes_that_extend_a_kind() -> None:
    """A class of a user's own is read where the class is that it extends."""

    @attrs.frozen
    class Own(SipRecord):
        campaign: str | None = None

    @attrs.frozen
    class Further(Own):
        pass

    assert ENDPOINTS[SipRecord] is endpoint_of(Own) is endpoint_of(Further)


@pytest.mark.parametrize("of", [CallRecord, VoiceRecord(), "VoiceRecord", None, [], dict])
def test_classes_that_have_no_row(of: Any) -> None:
    """Any other class, or what is none, is a ValueError that names those there are."""
    with pytest.raises(ValueError, match="of must be one of VoiceRecord, SipRecord, or extend one, not ") as caught:
        endpoint_of(of)

    assert str(caught.value).endswith(repr(of))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, {}),
        ({}, {}),
        ({"phone_name": "a"}, {"phoneName": "a"}),
        ({"sip_group_name": "продажи", "phone_name": " "}, {"sipGroupName": "продажи", "phoneName": " "}),
    ],
)
def test_filters(where: dict[str, str] | None, expected: dict[str, str]) -> None:
    """Python's names become the vendor's; values stay as they are."""
    assert expected == endpoint_of(SipRecord).params(where)


@pytest.mark.parametrize(
    ("of", "where", "says"),
    [
        (VoiceRecord, {"phone_name": "a"}, "unknown filter 'phone_name': .* filtered by: none"),
        (SipRecord, {"phoneName": "a"}, "unknown filter 'phoneName': .* by: sip_group_name, phone_name"),
        (SipRecord, {"phone_name": "a", 5: "b"}, "unknown filter 5"),
        (SipRecord, {"phone_name": ""}, "'phone_name' must be text that is not empty, not ''"),
        (SipRecord, {"phone_name": None}, "'phone_name' must be text .* not None"),
        (SipRecord, {"sip_group_name": 5}, "'sip_group_name' must be text .* not 5"),
        (SipRecord, {"sip_group_name": ["a"]}, "'sip_group_name' must be text"),
    ],
)
def test_filters_that_are_none(of: type[CallRecord], where: Any, says: str) -> None:
    """An unknown filter, or a value that is not text or is empty, is a ValueError that says so."""
    with pytest.raises(ValueError, match=says):
        endpoint_of(of).params(where)


def test_a_row_is_a_value() -> None:
    """An endpoint is frozen, and has no filters unless it is given some."""
    endpoint = Endpoint("/a", "/b/")

    assert {} == endpoint.filters
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        endpoint.query = "/c"  # type: ignore[misc]
