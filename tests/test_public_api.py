"""The public interface as recorded in `public_api.txt`: a change of a name or signature fails here."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MODULES = (
    "itnio_voice",
    "itnio_voice.outputs.arrow",
    "itnio_voice.outputs.cluster",
    "itnio_voice.outputs.files",
    "itnio_voice.outputs.partitions",
    "itnio_voice.outputs.report",
    "itnio_voice.outputs.text",
    "itnio_voice.outputs.verify",
    "itnio_voice.outputs.warehouse",
    "itnio_voice.sandbox",
)
"""The names that the reference shows, and that users may import."""
RETURNED = {"MergedStreams", "RecordStream"}
"""The classes that users do not construct: functions and methods return them."""
RECORD = Path(__file__).parent / "public_api.txt"


def described() -> str:
    """Return the public names, their signatures, and those of their public members."""
    return "".join(f"{line}\n" for module in MODULES for line in of_module(importlib.import_module(module)))


def of_module(module: Any) -> Iterator[str]:
    """Describe a module's public names."""
    for name in sorted(module.__all__):
        value = getattr(module, name)
        path = f"{module.__name__}.{name}"
        if inspect.isclass(value):
            bases = ", ".join(base.__qualname__ for base in value.__bases__)
            yield f"class {path}({bases})"
            yield from of_class(path, value)
        elif callable(value):
            yield f"{kind(value)} {path}{signature(value)}"
        else:
            yield f"value {path}: {type(value).__name__}"


def of_class(path: str, cls: type) -> Iterator[str]:
    """Describe a class's constructor and its public members, including those inherited from our classes."""
    if inspect.isfunction(inspect.getattr_static(cls, "__init__")) and cls.__name__ not in RETURNED:
        yield f"    {path}{signature(cls)}"
    members = {name for base in cls.__mro__ if base.__module__.startswith("itnio_voice") for name in vars(base)}
    for name in sorted(member for member in members if not member.startswith("_") or member == "__aiter__"):
        member = inspect.getattr_static(cls, name)
        if isinstance(member, property):
            yield f"    {path}.{name}: {annotation(inspect.signature(member.fget).return_annotation)}"  # type: ignore[arg-type]  # it has one
        elif isinstance(member, staticmethod | classmethod) or inspect.isfunction(member):
            yield f"    {kind(getattr(cls, name))} {path}.{name}{signature(getattr(cls, name))}"
        else:
            yield f"    {path}.{name}"


def kind(function: Any) -> str:
    """Return whether a function is awaited, as text."""
    return "async def" if inspect.iscoroutinefunction(function) else "def"


def signature(function: Any) -> str:
    """Return a signature as its author would write it."""
    return brief(str(inspect.signature(function)))


def annotation(of: Any) -> str:
    """Return an annotation as text."""
    return brief(inspect.formatannotation(of))


def brief(text: str) -> str:
    """Remove obvious parts from a text, and parts that differ between processes and versions of Python."""
    text = re.sub(r"(?<!\(')itnio_voice\.|typing\.|(?<=pathlib\.)_local\.| at 0x[0-9a-f]+", "", text)
    text = re.sub(r"<class '([^']*)'>", r"\1", text)
    text = re.sub(r"\b(?:\w+\.)*_\w+\.(?:\w+\.)*(?=[A-Z])", "", text)  # private modules
    text = re.sub(r"Union\[((?:[^][]|\[[^]]*\])*)\]", lambda union: union[1].replace("], ", "] | "), text)  # until 3.13
    return re.sub(r"Unpack\[([^]]*)\]", r"*\1", text)  # as Python 3.11 writes it


def test_the_public_interface_is_as_recorded() -> None:
    """After an intended change, `python -m tests.test_public_api` writes the record, and the changelog mentions it."""
    assert RECORD.read_text().splitlines() == described().splitlines()


def test_the_record_contains_all_parts_of_a_signature() -> None:
    """The record contains names, arguments, defaults, types and results."""
    text = described()

    for telling in (
        "async def itnio_voice.VoiceSession.page(",
        "page_size: int = 100",
        "on_error: Literal['raise', 'collect'] = 'raise'",
        "class itnio_voice.MergedStreams",
        "-> Page[~R]",
        "class itnio_voice.DecodeError(ProtocolError)",
        "itnio_voice.RecordStream.progress: Progress",
    ):
        assert telling in text


if __name__ == "__main__":
    RECORD.write_text(described())
