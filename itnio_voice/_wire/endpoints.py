"""The table of record kinds: their classes, paths and filters."""

from collections.abc import Mapping

import attrs

from .._model.records import CallRecord, SipRecord, VoiceRecord
from .structuring import structure_hook

__all__ = ["ENDPOINTS", "RECORDING_URL", "Endpoint", "endpoint_of"]


@attrs.frozen
class Endpoint:
    """The paths and filters of a kind of record.

    `query` is the path for pages, and `item_path` the path for one record, to which its id is appended. `filters` maps
    Python names to wire names.
    """

    query: str
    item_path: str
    filters: Mapping[str, str] = attrs.field(factory=dict)

    def params(self, where: Mapping[str, str] | None) -> dict[str, str]:
        """Return a caller's filters under their wire names.

        Raises:
            ValueError: if the endpoint does not have a filter, or its value is not text or is empty.
        """
        params = {}
        for name, value in (where or {}).items():
            if name not in self.filters:
                known = ", ".join(self.filters) or "none"
                message = f"unknown filter {name!r}: this kind of record can be filtered by: {known}"
                raise ValueError(message)
            if not isinstance(value, str) or not value:
                message = f"the filter {name!r} must be text that is not empty, not {value!r}"
                raise ValueError(message)
            params[self.filters[name]] = value
        return params


ENDPOINTS: Mapping[type[CallRecord], Endpoint] = {
    VoiceRecord: Endpoint("/recordGroupQuery", "/recordGroup/"),
    SipRecord: Endpoint(
        "/recordSipQuery", "/recordSip/", {"sip_group_name": "sipGroupName", "phone_name": "phoneName"}
    ),
}

RECORDING_URL = "/getRecordingFileUrl"


def endpoint_of(record: type[CallRecord]) -> Endpoint:
    """Return the endpoint of a record class, or of the nearest class that it extends.

    Raises:
        ValueError: if the class has no endpoint, or one of its fields has a type that cannot be read.
    """
    for kind in record.__mro__ if isinstance(record, type) else ():
        if kind in ENDPOINTS:
            structure_hook(record)
            return ENDPOINTS[kind]
    known = ", ".join(kind.__name__ for kind in ENDPOINTS)
    message = f"of must be one of {known}, or extend one, not {record!r}"
    raise ValueError(message)
