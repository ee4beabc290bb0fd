"""A recording to download: a second of silence in telephone quality."""

import io
import wave

__all__ = ["SILENCE"]

_FRAMES_PER_SECOND = 8000


def _silence() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(1)
        recording.setframerate(_FRAMES_PER_SECOND)
        # Samples of one byte are unsigned: 128 is silence.
        recording.writeframes(bytes([128]) * _FRAMES_PER_SECOND)
    return buffer.getvalue()


SILENCE = _silence()
"""The file, in WAV format."""
