"""The table of record kinds."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Generic, TypeVar

import attrs
import pytest

from itnio_voice import Credentials, SipRecord, VoiceRecord, VoiceSession
from itnio_voice._model.records import CallRecord
from itnio_voice._wire.endpoints import ENDPOINTS, RECORDING_URL, Endpoint, endpoint_of
from itnio_voice._wire.structuring import converter


@pytest.mark.parametrize(
    ("of", "query", "item_path", "filters"),
    [
        (VoiceRecord, "/recordGroupQuery", "/recordGroup/", {}),
        (SipRecord, "/recordSipQuery", "/recordSip/", {"sip_group_name": "sipGroupName", "phone_name": "phoneName"}),
    ],
)
def test_endpoints_are_the_vendors(of: type[CallRecord], query: str, item_path: str, filters: dict[str, str]) -> None:
    """Each record class uses the vendor's paths and filters."""
    assert Endpoint(query, item_path, filters) == endpoint_of(of)
    assert {VoiceRecord, SipRecord} == set(ENDPOINTS)
    assert "/getRecordingFileUrl" == RECORDING_URL


def test_subclasses_use_the_endpoint_of_their_base() -> None:
    """A user's class uses the endpoint of the class that it extends."""

    @attrs.frozen
    class Own(SipRecord):
        campaign: str | None = None

    @attrs.frozen
    class Further(Own):
        pass

    assert ENDPOINTS[SipRecord] is endpoint_of(Own) is endpoint_of(Further)


def record_class(of: Any, **options: Any) -> Any:
    """Return a record class with a field `tag` of a type."""
    return attrs.make_class(
        "Own", {"tag": attrs.field(type=of, default=None, **options)}, bases=(SipRecord,), frozen=True
    )


T = TypeVar("T")


@attrs.frozen
class AnyTag(SipRecord, Generic[T]):
    """A class with a generic field."""

    tag: T | None = None


UNREADABLE: list[tuple[Any, str]] = [
    (record_class(complex | None), r"Own.tag is complex \| None, which cannot be read from JSON"),
    (record_class(list[complex]), r"Own.tag is list\[complex\], which cannot"),
    (record_class(date), "Own.tag is date, which cannot"),
    (record_class(str | int | None), r"Own.tag is str \| int \| None, which cannot"),
    (record_class(object), "Own.tag is object, which cannot"),
    (record_class("Missing | None"), "the types of Own cannot be resolved .*'Missing' is not defined"),
    (record_class(int | None, init=False), "Own.tag has init=False"),
    (AnyTag, "AnyTag.tag is .*T.*, which cannot"),
    (AnyTag[int], "of must be one of"),
    (
        attrs.make_class("Own", {"a_b": attrs.field(default=1), "aB": attrs.field(default=1)}, bases=(SipRecord,)),
        "two fields of Own have the same wire name",
    ),
]


@pytest.mark.parametrize(("of", "message"), UNREADABLE)
def test_unreadable_classes_are_refused(of: Any, message: str) -> None:
    """A class with a field that no record can fill raises a ValueError that names the field."""
    with pytest.raises(ValueError, match=message):
        endpoint_of(of)


def test_a_hook_makes_a_class_readable() -> None:
    """After a hook has been registered for the type, the class is read."""
    kind = type("Kind", (), {})
    of = record_class(kind | None)
    with pytest.raises(ValueError, match=r"Own.tag is .* without a structure hook of your own"):
        endpoint_of(of)
    converter.register_structure_hook(kind, lambda *_: kind())

    assert ENDPOINTS[SipRecord] is endpoint_of(of)


@pytest.mark.anyio
async def test_a_class_is_checked_at_the_call() -> None:
    """A stream of an unreadable class is refused before it is read."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    async with VoiceSession(Credentials("key", "secret")) as session:
        with pytest.raises(ValueError, match=r"Own.tag is complex \| None"):
            session.records(start, of=record_class(complex | None))
        with pytest.raises(ValueError, match=r"Own.tag has init=False"):
            await session.page(start, start + timedelta(days=1), of=record_class(int | None, init=False))


@pytest.mark.parametrize("of", [CallRecord, VoiceRecord(), "VoiceRecord", None, [], dict])
def test_unknown_classes_are_refused(of: Any) -> None:
    """Any other class or object raises a ValueError that names the known classes."""
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
def test_filters_are_translated_to_the_vendors_names(where: dict[str, str] | None, expected: dict[str, str]) -> None:
    """Python's names become the vendor's; values are unchanged."""
    assert expected == endpoint_of(SipRecord).params(where)


@pytest.mark.parametrize(
    ("of", "where", "message"),
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
def test_invalid_filters_are_refused(of: type[CallRecord], where: Any, message: str) -> None:
    """An unknown filter, and a value that is empty or not text, raises a ValueError that message so."""
    with pytest.raises(ValueError, match=message):
        endpoint_of(of).params(where)


def test_an_endpoint_is_a_value() -> None:
    """An endpoint is frozen, and has no filters by default."""
    endpoint = Endpoint("/a", "/b/")

    assert {} == endpoint.filters
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        endpoint.query = "/c"  # type: ignore[misc]
