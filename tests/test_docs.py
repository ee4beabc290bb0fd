"""Whatever Python the README and the documentation show runs, against a sandbox."""

import ast
import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from itnio_voice.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
END = datetime(2026, 11, 1, tzinfo=UTC)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [
    pytest.param(block, id=f"{path.name}-{index}")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    for index, block in enumerate(BLOCK.findall(path.read_text()))
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox in which it is the end of the months that the examples ask for."""
    accounts = {"sandbox-key": "sandbox-secret", "other-key": "other-secret"}
    with Sandbox(records=300, accounts=accounts, clock=END.timestamp) as sandbox:
        yield sandbox


@pytest.mark.anyio
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


def test_every_error_is_in_the_readme() -> None:
    """The README's table has every error."""
    import itnio_voice

    readme = (ROOT / "README.md").read_text()
    errors = [name for name in itnio_voice.__all__ if name.endswith("Error") and name != "ItnioError"]

    assert errors
    assert [] == [name for name in errors if f"| `{name}` |" not in readme]
