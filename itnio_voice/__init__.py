"""Read voice call records out of the ITNIO TECH voice API, asynchronously, each exactly once."""

from .checkpoint import Checkpoint
from .errors import (
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
from .merge import merge
from .models import BillPeriod, RecordingURL, SipRecord, VoiceRecord
from .paging import Page
from .retry import Retry
from .session import VoiceSession
from .signing import Credentials
from .stream import Progress, RecordStream, WindowBatch
from .windows import Window

__all__ = [
    "APIError",
    "AuthenticationError",
    "BillPeriod",
    "Checkpoint",
    "Credentials",
    "DecodeError",
    "HTTPStatusError",
    "IPRestrictedError",
    "IncompleteWindowError",
    "ItnioError",
    "Page",
    "ParameterError",
    "Progress",
    "ProtocolError",
    "RecordNotFoundError",
    "RecordStream",
    "RecordingURL",
    "RequestTimeoutError",
    "Retry",
    "ServerError",
    "SipRecord",
    "TimeRangeError",
    "TimestampExpiredError",
    "TransportError",
    "UserLockedError",
    "VoiceRecord",
    "VoiceSession",
    "Window",
    "WindowBatch",
    "merge",
]
