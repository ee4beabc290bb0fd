"""The pytest plugin: a sandbox for each test, configured by marks, and the environment of its account."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from itnio_voice import VoiceSession
from itnio_voice.sandbox import Behaviour, Sandbox

from ..conftest import QUICK

ROOT = Path(__file__).parent.parent.parent


def run_pytest(folder: Path, tests: str, *options: str, plugin: str = "pytest_itnio_voice") -> str:
    """Run tests in a folder of their own, with default options and the plugin; return the output."""
    (folder / "test_users.py").write_text(tests)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-p", plugin, "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout + done.stderr


def test_the_default_sandbox_has_both_kinds(itnio_sandbox: Sandbox) -> None:
    """Without a marker, the sandbox has a small data set of both kinds."""
    assert itnio_sandbox.base_url.startswith("http://127.0.0.1:")
    assert len(itnio_sandbox.ids()) == 200
    assert len(itnio_sandbox.ids(kind="sip")) == 50


@pytest.mark.itnio_sandbox(records=3, behaviour=Behaviour(locked=True))
def test_the_marker_sets_options(itnio_sandbox: Sandbox) -> None:
    """The marker's options are passed to the sandbox, beside the default ones."""
    assert len(itnio_sandbox.ids()) == 3
    assert len(itnio_sandbox.ids(kind="sip")) == 50
    assert itnio_sandbox.behaviour.locked


@pytest.mark.itnio_sandbox(records=3, sip_records=4)
class TestMarks:
    """Tests of a class with a mark."""

    @pytest.mark.itnio_sandbox(records=5)
    def test_marks_are_combined(self, itnio_sandbox: Sandbox) -> None:
        """The closest mark takes precedence, and keeps the other options of the class's."""
        assert len(itnio_sandbox.ids()) == 5
        assert len(itnio_sandbox.ids(kind="sip")) == 4


def test_the_marker_is_registered(pytestconfig: pytest.Config) -> None:
    """The marker is registered once, so that strict runs accept it."""
    assert len([line for line in pytestconfig.getini("markers") if line.startswith("itnio_sandbox(")]) == 1


@pytest.mark.anyio
@pytest.mark.itnio_sandbox(records=7, accounts={"k'ey": "sécret", "other": "secret"})
async def test_sessions_from_the_environment_read_the_sandbox(itnio_sandbox: Sandbox) -> None:
    """`from_env()` makes a session of the first account, even if its secret is not ASCII."""
    async with VoiceSession.from_env(retry=QUICK) as session:
        found = await session.records(datetime.now(UTC) - timedelta(days=59)).collect()

    assert {record.voice_id for record in found} <= itnio_sandbox.ids()
    assert {request.account for request in itnio_sandbox.requests} == {"k'ey"}


ENVIRONMENT = """
import os

def variables():
    return {name: value for name, value in os.environ.items() if name.startswith("ITNIO_")}

def test_before():
    assert variables() == {"ITNIO_ACCOUNTS": "mine.toml", "ITNIO_API_SECRET": "mine"}

def test_during(monkeypatch, itnio_sandbox):
    assert variables().keys() == {"ITNIO_API_KEY", "ITNIO_API_SECRET", "ITNIO_BASE_URL"}
    monkeypatch.setenv("ITNIO_API_KEY", "other")

def test_after():
    test_before()
"""


def test_the_environment_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's own accounts are hidden during a test with a sandbox, and restored after it."""
    for name in ("ITNIO_API_KEY", "ITNIO_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ITNIO_ACCOUNTS", "mine.toml")
    monkeypatch.setenv("ITNIO_API_SECRET", "mine")

    assert "3 passed" in run_pytest(tmp_path, ENVIRONMENT)


UNUSED = """
import sys

def test_unused():
    assert [] == [name for name in sys.modules if name.startswith(("itnio_voice", "attrs", "httpx", "starlette"))]
"""


def test_an_unused_plugin_imports_nothing(tmp_path: Path) -> None:
    """A run whose tests have no sandbox does not import the package."""
    assert "1 passed" in run_pytest(tmp_path, UNUSED)


WRONG = """
import pytest
from itnio_voice.sandbox import Sandbox

@pytest.mark.itnio_sandbox(recrods=3)
def test_option(itnio_sandbox): ...

@pytest.mark.itnio_sandbox(1000)
def test_position(itnio_sandbox): ...

@pytest.mark.itnio_sandbox(records="many")
def test_number(itnio_sandbox): ...

@pytest.mark.itnio_sandbox(behaviour="slow")
def test_behaviour(itnio_sandbox): ...

@pytest.mark.itnio_sandbox(start=5)
def test_start(itnio_sandbox): ...

@pytest.mark.itnio_sandbox(accounts="text")
def test_accounts(itnio_sandbox): ...

@pytest.mark.itnio_sandbx(records=3)
def test_mark(itnio_sandbox): ...

@pytest.mark.itnio_mine
def test_own_mark(): ...
"""


def test_wrong_marks_are_errors(tmp_path: Path) -> None:
    """A mark that would have no effect, or a wrong one, is an error that says what is accepted."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    itnio_mine: a mark of the user's\n")
    output = run_pytest(tmp_path, WRONG)

    assert "1 passed" in output
    assert "7 errors" in output
    assert "the mark itnio_sandbox has no option recrods: its options are records, sip_records, " in output
    assert "the mark itnio_sandbox has no option 1000: its options are" in output
    assert "the mark itnio_sandbox: records must be an integer of 0 or more, not 'many'" in output
    assert "the mark itnio_sandbox: behaviour must be a Behaviour, not 'slow'" in output
    assert "the mark itnio_sandbox: start must be a datetime with a time zone, not 5" in output
    assert "the mark itnio_sandbox: accounts must be a mapping of secrets by key, not 'text'" in output
    assert "During handling" not in output
    assert "unknown mark 'itnio_sandbx': use itnio_sandbox, or register" in output


def test_pytest_lists_the_mark_and_the_fixture(tmp_path: Path) -> None:
    """The mark and the fixture are in pytest's lists, also if the plugin is named by its module in the package."""
    marks = run_pytest(tmp_path, "", "--markers", plugin="itnio_voice.sandbox.fixtures")
    fixtures = run_pytest(tmp_path, "", "--fixtures", plugin="itnio_voice.sandbox.fixtures")

    assert marks.count("@pytest.mark.itnio_sandbox(**options): ") == 1
    assert "Run a sandbox for one test" in fixtures
