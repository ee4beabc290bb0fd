"""Read voice call records out of the ITNIO TECH voice API, asynchronously, each exactly once."""

from types import FunctionType as _Function

from ._client.accounts import Account, find_accounts, open_sessions
from ._client.checkpoint import Checkpoint
from ._client.following.checkpoint import FollowCheckpoint
from ._client.following.follower import FollowBatch, RecordFollower
from ._client.merging import MergedStreams, merge
from ._client.session import SessionOptions, VoiceSession
from ._client.stream import PrefetchedStream, Progress, RecordStream, WindowBatch
from ._http.clients import HTTPClient
from ._http.credentials import Credentials
from ._http.retry import Retry
from ._model.errors import (
    APIError,
    AuthenticationError,
    DecodeError,
    HTTPStatusError,
    IncompleteWindowError,
    IPRestrictedError,
    ItnioError,
    ParameterError,
    ProtocolError,
    RecordNotFoundError,
    RequestTimeoutError,
    ServerError,
    TimeRangeError,
    TimestampExpiredError,
    TransportError,
    UserLockedError,
)
from ._model.observing import Attempt
from ._model.plain import DICT_READER as _DICT_READER
from ._model.records import BillPeriod, CallRecord, RecordingFile, RecordingURL, SipRecord, VoiceRecord
from ._model.windows import Window
from ._wire.from_dict import record_from_dict as _record_from_dict
from ._wire.pages import Page
from ._wire.structuring import converter, structure_record

__version__ = "0.1.0"

__all__ = [
    "APIError",
    "Account",
    "Attempt",
    "AuthenticationError",
    "BillPeriod",
    "CallRecord",
    "Checkpoint",
    "Credentials",
    "DecodeError",
    "FollowBatch",
    "FollowCheckpoint",
    "HTTPClient",
    "HTTPStatusError",
    "IPRestrictedError",
    "IncompleteWindowError",
    "ItnioError",
    "MergedStreams",
    "Page",
    "ParameterError",
    "PrefetchedStream",
    "Progress",
    "ProtocolError",
    "RecordFollower",
    "RecordNotFoundError",
    "RecordStream",
    "RecordingFile",
    "RecordingURL",
    "RequestTimeoutError",
    "Retry",
    "ServerError",
    "SessionOptions",
    "SipRecord",
    "TimeRangeError",
    "TimestampExpiredError",
    "TransportError",
    "UserLockedError",
    "VoiceRecord",
    "VoiceSession",
    "Window",
    "WindowBatch",
    "__version__",
    "converter",
    "find_accounts",
    "merge",
    "open_sessions",
    "structure_record",
]

# The records need the hooks of the fields' types, which are in a layer above theirs.
_DICT_READER.read = _record_from_dict

# Tracebacks, pickles and documentation show public names where users import them from, whatever module defines them.
for _value in [globals()[_name] for _name in __all__]:
    if isinstance(_value, type | _Function):
        _value.__module__ = __name__
