"""Whatever Python the README and the documentation show runs, against a sandbox; so does all of the tutorial."""

import ast
import inspect
import logging
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from itnio_voice.sandbox import Behaviour, Sandbox

from .conftest import environment_of

ROOT = Path(__file__).parent.parent
END = datetime(2026, 11, 1, tzinfo=UTC)
TUTORIAL = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STEP = re.compile(
    r"(?:Write this into `(?P<file>[a-z.]+)`:\n\n)?^```(?P<language>python|sh)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
RUN = {"python": [sys.executable], "sh": ["bash", "-e"]}
NOT_TYPED = ("pip install", "itnio-voice sandbox", "your-key")
"""What tells a step of the tutorial that is not for a test: it installs, stays running, or needs an account."""
BLOCKS = [
    pytest.param(block, id=f"{path.name}-{index}")
    for path in (ROOT / "README.md", *sorted({*(ROOT / "docs").rglob("*.md")} - {TUTORIAL}))
    for index, block in enumerate(BLOCK.findall(path.read_text()))
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox in which it is the end of the months that the examples ask for."""
    accounts = {"sandbox-key": "sandbox-secret", "other-key": "other-secret"}
    # Its clock is days from this machine's, too far to be believed: it takes any timestamp.
    behaviour = Behaviour(timestamp_tolerance=math.inf)
    with Sandbox(records=300, accounts=accounts, clock=END.timestamp, behaviour=behaviour) as sandbox:
        yield sandbox


@pytest.fixture
def _levels() -> Iterator[None]:
    """Leave loggers at the levels at which they were."""
    loggers = [logging.getLogger(name) for name in ("itnio_voice", "httpx")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.anyio
@pytest.mark.usefixtures("_levels")
@pytest.mark.parametrize("block", BLOCKS)
async def test_shown_code_runs(
    block: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each block runs as it stands, but for the credentials that a reader would fill in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ITNIO_API_KEY", sandbox.api_key)
    monkeypatch.setenv("ITNIO_API_SECRET", sandbox.api_secret)
    monkeypatch.setenv("ITNIO_BASE_URL", sandbox.base_url)
    block = block.replace(
        'Credentials(api_key="…", api_secret="…")',
        f"Credentials({sandbox.api_key!r}, {sandbox.api_secret!r}), base_url={sandbox.base_url!r}",
    )
    names: dict[str, Any] = {"__name__": "shown"}
    code = compile(block, "shown", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(code, names)  # noqa: S307 -- our own documentation
    if inspect.isawaitable(result):
        await result

    if "print(" in block:
        assert 290 <= len(capsys.readouterr().out.splitlines()) <= 300
    if "calls" in names and isinstance(names["calls"], dict):
        assert {"eu", "us"} == names["calls"].keys()


def test_the_tutorial(tmp_path: Path) -> None:
    """Typed in as it stands, it works from its first step to its last, but for what it installs and leaves running."""
    scripts = Path(sys.executable).parent
    steps = list(STEP.finditer(TUTORIAL.read_text()))
    text = ""
    with Sandbox(records=3_000, sip_records=200) as sandbox:
        environment = environment_of(sandbox) | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
        environment.pop("ITNIO_ACCOUNTS", None)
        for index, step in enumerate(steps):
            if any(word in step["text"] for word in NOT_TYPED):
                continue
            file = tmp_path / (step["file"] or f"step{index}")
            file.write_text(step["text"])
            if not step["file"]:
                command = [*RUN[step["language"]], str(file)]
                done = subprocess.run(  # noqa: S603
                    command, cwd=tmp_path, env=environment, text=True, capture_output=True, check=False
                )
                assert 0 == done.returncode, f"{step['text']}{done.stdout}{done.stderr}"
                text += done.stdout

    assert len(steps) > 12
    assert re.search(r"[0-9]+ calls, [0-9]+ answered", text)
    first, second = re.findall(r"([0-9]+) records from (.*)", text)
    assert first != second
    assert {"calls.parquet", "calls.duckdb", "report.html"} < {path.name for path in tmp_path.iterdir()}


def test_every_error_is_in_the_readme() -> None:
    """The README's table has every error."""
    import itnio_voice

    readme = (ROOT / "README.md").read_text()
    errors = [name for name in itnio_voice.__all__ if name.endswith("Error") and name != "ItnioError"]

    assert errors
    assert [] == [name for name in errors if f"| `{name}` |" not in readme]
