"""Every Python and shell block of the README and the documentation runs as shown, page by page, on a sandbox."""

import ast
import inspect
import logging
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from itnio_voice.sandbox import Sandbox

from .conftest import environment_of

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
TUTORIAL = DOCS / "tutorial.md"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted({*DOCS.glob("*.md")} - {TUTORIAL})]
NOT_CODE = {"text", "sql", "{toctree}", "{eval-rst}", "{literalinclude}"}
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]+) -->\n\n)?"
    r"(?:Write this into `(?P<file>[a-z._]+)`:\n\n)?"
    r"^```(?P<language>[^\s]+)[^\n]*\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
NOT_RUN = "not run: "
SECOND_TERMINAL = "second terminal"
CREDENTIALS = 'Credentials(api_key="…", api_secret="…")'


@attrs.define
class Reader:
    """A reader who types a page's blocks in order, in one folder and one shell session.

    Python blocks run on asyncio, and then once more on trio. A block marked as `second terminal` runs until the page's
    end. A block marked as `not run` says why.
    """

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]
    output: str = ""
    running: list[subprocess.Popen[str]] = attrs.field(factory=list)

    def read(self, page: Path) -> int:
        """Type all blocks of a page; return the number of those that ran."""
        ran = 0
        for block in BLOCK.finditer(page.read_text()):
            mark, language, text = block["mark"] or "", block["language"], block["text"]
            if mark.startswith(NOT_RUN) or language in NOT_CODE:
                continue
            ran += 1
            if block["file"]:
                (self.folder / block["file"]).write_text(text)
            elif language == "python":
                self.run_python(text)
            elif language == "sh" and mark == SECOND_TERMINAL:
                self.start(text)
            elif language == "sh":
                self.run_shell(text)
            else:
                assert language == "toml", f"a block of {language}"
                tomllib.loads(text)
        return ran

    def run_python(self, text: str) -> None:
        """Run Python code, with credentials in place of the placeholders, on both event loops."""
        account = [os.environ[name] for name in ("ITNIO_API_KEY", "ITNIO_API_SECRET", "ITNIO_BASE_URL")]
        text = text.replace(CREDENTIALS, "Credentials({!r}, {!r}), base_url={!r}".format(*account))
        for backend in ("asyncio", "trio"):
            names: dict[str, Any] = {"__name__": "shown"}
            code = compile(text, "shown", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

            async def run(code: Any = code, names: dict[str, Any] = names) -> None:
                result = eval(code, names)  # noqa: S307 -- our own documentation
                if inspect.isawaitable(result):
                    await result

            if code.co_flags & inspect.CO_COROUTINE:
                anyio.run(run, backend=backend)
            else:
                eval(code, names)  # noqa: S307 -- as above; without an event loop, as a script
            printed = self.capsys.readouterr().out
            assert ("print(" in text) == bool(printed)
            for counter in [value for value in names.values() if isinstance(value, Counter)]:
                assert {"eu", "us"} >= counter.keys() > set()
            self.output += printed

    def run_shell(self, text: str) -> None:
        """Run shell commands, and keep the variables that they export."""
        variables = self.folder.parent / "variables"
        done = subprocess.run(  # noqa: S603
            ["bash", "-ec", f"{text}\nenv -0 > {shlex.quote(str(variables))}"],  # noqa: S607
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, f"{text}{done.stdout}{done.stderr}"
        self.output += done.stdout
        for line in variables.read_text().split("\0"):
            self.export(line)

    def start(self, text: str) -> None:
        """Run a shell command until the end of the page, and export the variables that it prints."""
        process = subprocess.Popen(  # noqa: S603
            ["bash", "-ec", text],  # noqa: S607
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.running.append(process)
        assert process.stderr
        assert process.stdout
        assert "Running until interrupted" in process.stderr.readline()
        if ">" not in text:
            for _ in range(3):
                self.export(process.stdout.readline().removeprefix("export ").strip())

    def export(self, line: str) -> None:
        """Set a variable of the library."""
        name, _, value = line.partition("=")
        if name.startswith("ITNIO_"):
            self.monkeypatch.setenv(name, value)

    def close(self) -> None:
        """End the processes of the second terminal."""
        for process in self.running:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """Run a sandbox with the default behaviour, retention included, on the real clock."""
    with Sandbox(records=3_000, sip_records=200) as sandbox:
        yield sandbox


@pytest.fixture
def reader(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Reader]:
    """Return a reader in an empty folder, with an account in the environment."""
    for name, value in environment_of(sandbox).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("ITNIO_ACCOUNTS", raising=False)
    # As in an installed package, whose plugin pytest finds: these tests may run without an installation.
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_itnio_voice")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("COLUMNS", "100")
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with _levels():
        reader = Reader(folder, monkeypatch, capsys)
        try:
            yield reader
        finally:
            reader.close()


@contextmanager
def _levels() -> Iterator[None]:
    """Restore the levels of loggers."""
    loggers = [logging.getLogger(name) for name in ("itnio_voice", "httpx")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_of_a_page_runs(page: Path, reader: Reader) -> None:
    """Each block of a page works as shown; each Python block works a second time, in the same folder."""
    if page.name == "data-job.md":
        shutil.copy(DOCS / "examples" / "data_job.py", reader.folder)  # the page shows it
    reader.read(page)

    for path in reader.folder.glob("*.db"):
        with closing(sqlite3.connect(path)) as database:
            rows, records = database.execute("SELECT count(*), count(DISTINCT voice_id) FROM calls").fetchone()
        assert rows == records > 0


def test_the_tutorial_works(reader: Reader) -> None:
    """The tutorial works from its first step to its last."""
    for name in ("ITNIO_API_KEY", "ITNIO_API_SECRET", "ITNIO_BASE_URL"):
        reader.monkeypatch.delenv(name)

    assert reader.read(TUTORIAL) > 12
    assert re.search(r"[0-9]+ calls, [0-9]+ answered", reader.output)
    first, second = re.findall(r"([0-9]+) records from (.*)", reader.output)
    assert first != second
    assert {"calls.parquet", "calls.duckdb", "report.html"} < {path.name for path in reader.folder.iterdir()}


def test_blocks_that_do_not_run_say_why() -> None:
    """Each mark of a block is known, and a block that does not run has a reason; it compiles, too."""
    blocks = [block for page in [*PAGES, TUTORIAL] for block in BLOCK.finditer(page.read_text())]
    marks = [block["mark"] for block in blocks if block["mark"]]

    for block in blocks:
        if block["language"] == "python":
            compile(block["text"], "shown", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert len(blocks) > 40
    assert [] == [mark for mark in marks if mark != SECOND_TERMINAL and not re.fullmatch(f"{NOT_RUN}.{{10,}}", mark)]


def test_no_page_has_a_date_that_expires() -> None:
    """No page shows the date of a call: one day it would be older than the retention."""
    dated = re.compile(r"datetime\(20[0-9]{2}|\b20[0-9]{2}-[01][0-9]-[0-3][0-9]")

    shown = [(page, block["text"]) for page in [*PAGES, TUTORIAL] for block in BLOCK.finditer(page.read_text())]
    shown.append((DOCS, (DOCS / "examples" / "data_job.py").read_text()))

    assert [] == [f"{page.name}: {found[0]}" for page, text in shown if (found := dated.search(text))]


def test_the_page_of_errors_lists_every_error() -> None:
    """Its table has a row for each error class."""
    import itnio_voice

    page = (DOCS / "errors.md").read_text()
    errors = [name for name in itnio_voice.__all__ if name.endswith("Error") and name != "ItnioError"]

    assert errors
    assert [] == [name for name in errors if f"| `{name}` |" not in page]


def test_the_page_of_fields_lists_every_field() -> None:
    """It has a row for each field of the two kinds of records, and names what streams and calls return."""
    from itnio_voice import Page, Progress, RecordingFile, RecordingURL, SipRecord, VoiceRecord, Window, WindowBatch

    page = (DOCS / "fields.md").read_text()
    fields = {field.name for kind in (VoiceRecord, SipRecord) for field in attrs.fields(kind)} - {"extra"}
    returned: dict[type, set[str]] = {
        kind: {field.name for field in attrs.fields(kind)}
        for kind in (WindowBatch, Progress, RecordingFile, RecordingURL, Window)
    }
    returned[Page] = {"records", "total", "size", "current", "pages"}

    assert fields == set(re.findall(r"^\| `([a-z_]+)` \| `", page, re.MULTILINE))
    for kind, names in returned.items():
        (row,) = re.findall(rf"^\| `{kind.__name__}` \|.*$", page, re.MULTILINE)
        assert [] == [name for name in names if f"`{name}`" not in row]
