"""The command `follow`."""

import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from itnio_voice import FollowCheckpoint, VoiceSession
from itnio_voice._client.accounts import Account
from itnio_voice.cli.app import run
from itnio_voice.cli.commands import follow
from itnio_voice.cli.commands.records import Lines
from itnio_voice.cli.follow_state import FollowState
from itnio_voice.cli.options import KindOptions
from itnio_voice.sandbox import Behaviour, Sandbox

from ..client.following.live_service import Call, LiveService, traffic
from ..support.virtual_time import backend_options
from .conftest import on_a_terminal

COMMAND = [sys.executable, "-m", "itnio_voice", "follow"]
LOOPS = ("asyncio", "trio")
KILLS = int(os.environ.get("ITNIO_KILLS", "3"))


@pytest.fixture(autouse=True)
def _account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ITNIO_ACCOUNTS", raising=False)
    monkeypatch.setenv("ITNIO_API_KEY", "key")
    monkeypatch.setenv("ITNIO_API_SECRET", "secret")


class Terminal:
    """Runs the command against services in virtual time, for some seconds; `services` are by account."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, backend: str, services: dict[str, LiveService]) -> None:
        self.backend = backend
        self.services = services

        def session(account: Account, **options: Any) -> VoiceSession:
            return services[account.credentials.api_key].session(**options)

        monkeypatch.setattr(Account, "session", session)

    def follow(self, *runs: float, state: Path | None = None, reading: KindOptions = KindOptions(), **how: Any) -> None:  # noqa: B008 -- frozen
        """Run the command for some seconds, again and again, with 100 seconds between two runs."""
        options = {"start": None, "every": "10s", "lookback": "2m", "changes": False, "json": False, **how}

        async def main() -> None:
            for seconds in runs:
                for service in self.services.values():
                    assert service.now >= 0  # its clock begins with the first run
                with anyio.move_on_after(seconds):
                    await follow.run(follow.How(state=state, **options), reading)
                await anyio.sleep(100)

        anyio.run(main, backend=self.backend, backend_options=backend_options(self.backend))


def names_of(lines: bytes) -> list[str]:
    """Return the callees of JSON lines."""
    return [json.loads(line)["callee"] for line in lines.splitlines()]


@pytest.mark.parametrize("backend", LOOPS)
def test_each_record_is_printed_once(
    backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """With a state, interrupted runs print each record once, also those of the time between the runs."""
    calls = traffic(random.Random(1), (-50, 1500), 0.4, 0.2, 100)
    terminal = Terminal(monkeypatch, backend, {"key": LiveService(calls)})
    terminal.follow(50, 3, 300, 20, 600, state=tmp_path / "calls.state")

    found = Counter(names_of(capfdbinary.readouterr().out))
    assert {1} == set(found.values())
    must = {call.name for call in calls if 3 <= call.second and call.appears < 1360}
    assert len(must) > 400
    assert must <= found.keys() <= {call.name for call in calls if call.second >= -3}
    assert ["calls.state"] == [path.name for path in tmp_path.iterdir()]
    assert 0o600 == stat.S_IMODE((tmp_path / "calls.state").stat().st_mode)


@pytest.mark.parametrize("backend", LOOPS)
def test_a_first_run_without_records_stores_where_it_began(
    backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A state is written before the first record, so that the second run prints what appeared between the runs."""
    terminal = Terminal(monkeypatch, backend, {"key": LiveService([Call("between", 60, 60)])})
    terminal.follow(20, 20, state=tmp_path / "calls.state")

    assert ["between"] == names_of(capfdbinary.readouterr().out)


@pytest.mark.parametrize("backend", LOOPS)
def test_the_state_is_written_while_nothing_is_found(
    backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The position is stored during a run: a kill needs no last write."""
    state, positions = tmp_path / "calls.state", list[Any]()
    terminal = Terminal(monkeypatch, backend, {"key": LiveService([])})
    store = FollowState.store

    def stored(self: Any, checkpoints: Any) -> None:
        store(self, checkpoints)
        positions.append(
            json.loads(state.read_text())["accounts"]["default"]["position"] if state.stat().st_size else None
        )

    monkeypatch.setattr(FollowState, "store", stored)
    terminal.follow(100, state=state)

    assert 10 <= len(set(positions)) <= len(positions) <= 12


def test_a_failed_write_is_repeated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A batch whose output failed is printed by the next run: its checkpoint was not stored."""
    terminal = Terminal(monkeypatch, "asyncio", {"key": LiveService([Call("one", 20, 20), Call("two", 50, 50)])})
    take, batches = Lines.take, list[Any]()

    def fail(self: Any, rows: Any) -> None:
        batches.append(rows)
        if len(batches) == 2:
            raise OSError(28, "No space left on device")
        take(self, rows)

    monkeypatch.setattr(Lines, "take", fail)
    with pytest.raises(OSError, match="No space"):
        terminal.follow(100, state=tmp_path / "calls.state")
    terminal.services["key"]._loop_began = None
    terminal.services["key"].began = 200
    terminal.follow(100, state=tmp_path / "calls.state")

    assert ["one", "two"] == names_of(capfdbinary.readouterr().out)


@pytest.fixture
def two_accounts(tmp_path: Path) -> KindOptions:
    """Return options with a file of two accounts."""
    path = tmp_path / "accounts.toml"
    path.touch(mode=0o600)
    path.write_text("".join(f'[{name}]\napi_key = "{name}"\napi_secret = "secret"\n' for name in ("eu", "us")))
    return KindOptions(accounts=path, on_error="collect")


@pytest.mark.parametrize("backend", LOOPS)
def test_a_failing_account_does_not_stop_the_others(
    backend: str,
    two_accounts: KindOptions,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """With `collect`, a failure is printed at once; the next run continues both accounts from their checkpoints."""
    services = {name: LiveService([Call(f"{name} {at}", at, at) for at in range(0, 400, 20)]) for name in ("eu", "us")}
    services["us"].fails = lambda number: "-13" if number == 9 else None
    Terminal(monkeypatch, backend, services).follow(150, 250, state=tmp_path / "calls.state", reading=two_accounts)

    output, errors = capfdbinary.readouterr()
    found = Counter((row["account"], row["callee"]) for row in map(json.loads, output.splitlines()))
    assert {(name, f"{name} {at}"): 1 for name in ("eu", "us") for at in range(20, 400, 20)}.items() <= found.items()
    assert {1} == set(found.values())
    assert re.fullmatch(rb"itnio-voice: AccountError: .*; while reading 'us'\n|itnio-voice: .*'us'\n", errors)


def test_a_new_account_is_reported(
    two_accounts: KindOptions,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """An account that the state does not have is followed from now on; accounts that are not followed stay in it."""
    state, path = tmp_path / "calls.state", two_accounts.accounts
    terminal = Terminal(monkeypatch, "asyncio", {name: LiveService([]) for name in ("eu", "us")})
    follow_ = partial(terminal.follow, 10, state=state)
    follow_(reading=KindOptions(accounts=path, account=["eu"]))
    assert {"eu"} == json.loads(state.read_text())["accounts"].keys()
    with pytest.raises(ValueError, match=r"is of other accounts \(eu\): choose another file"):
        follow_(reading=KindOptions(accounts=path, account=["us"]))
    follow_(reading=two_accounts)
    follow_(reading=KindOptions(accounts=path, account=["us"]))

    assert {"eu", "us"} == json.loads(state.read_text())["accounts"].keys()
    errors = capfdbinary.readouterr().err.decode()
    assert errors == f"itnio-voice: us: not in {state}, so it is followed from now on\n"


def test_failed_polls_and_late_records_are_reported(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A failed poll is a line unless `--quiet`; the warning of late records is always printed."""
    shown = []
    for quiet in (False, True):
        service = LiveService([Call("late", 100, 190)])
        service.fails = lambda number: "500" if number == 4 else None
        Terminal(monkeypatch, "asyncio", {"key": service}).follow(400, reading=KindOptions(quiet=quiet))
        output, errors = capfdbinary.readouterr()
        assert ["late"] == names_of(output)
        shown.append(errors.decode().splitlines())

    assert any("following continues in 10 s" in line for line in shown[0])
    assert all(line.startswith("itnio-voice: default: ") for lines in shown for line in lines)
    (late,) = shown[1]
    assert "the lookback is 0:02:00: use a longer --lookback" in late
    assert late in shown[0]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Run an empty sandbox, with its account in the environment."""
    with Sandbox(records=0, sip_records=0) as sandbox:
        monkeypatch.setenv("ITNIO_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("ITNIO_API_KEY", sandbox.api_key)
        monkeypatch.setenv("ITNIO_API_SECRET", sandbox.api_secret)
        yield sandbox


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--every", "0s"], "--every must be above 0s and at most 30d, not 0s"),
        (["--every", "30"], "--every must be a duration such as 36h, 3d or 2w, not '30'"),
        (["--every", "31d"], "--every must be above 0s and at most 30d, not 31d"),
        (["--lookback", "0m"], "--lookback must be above 0s and at most 30d, not 0m"),
        (["--lookback", "5w"], "--lookback must be above 0s and at most 30d, not 5w"),
        (["--lookback", "now"], "--lookback must be a duration"),
        (["--start", "2100-01-01"], "--start must not be in the future"),
        (["--start", "yesterday"], "--start: 'yesterday' is not a time"),
        (["--start", ""], "--start: '' is not a time"),
        (["--timezone", "Mars"], "there is no time zone 'Mars'"),
        (["--expired", "skip"], "--expired"),
    ],
)
def test_wrong_options_request_nothing(
    words: list[str], text: str, service: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wrong usage is exit code 2 with one line, before any request or file."""
    assert 2 == run(["follow", "--state", str(tmp_path / "calls.state"), *words])
    output, errors = capfd.readouterr()
    assert text in errors
    assert ("", 1) == (output, errors.count("\n"))
    assert ([], []) == (service.requests, list(tmp_path.iterdir()))


def checkpoint(**changes: Any) -> dict[str, Any]:
    """Return a checkpoint as JSON, of no account."""
    return {**json.loads(str(FollowCheckpoint("0" * 64))), "position": "2026-01-01T00:00:00+00:00", **changes}


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"version": 2, "accounts": {}}',
        b'{"version": 1, "accounts": []}',
        json.dumps({"version": 1, "accounts": {"default": checkpoint(version=2)}}).encode(),
        json.dumps({"version": 1, "accounts": {"default": checkpoint(stretches=[[1]])}}).encode(),
        json.dumps({"version": 1, "accounts": {"default": checkpoint()}}).encode()[:-40],
    ],
)
def test_a_damaged_state_is_refused(
    content: bytes, service: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file that is no state, or a damaged one, is exit code 2, and stays as it is."""
    state = tmp_path / "calls.state"
    state.write_bytes(content)
    assert 2 == run(["follow", "--state", str(state)])
    errors = capfd.readouterr().err
    assert errors.startswith(f"itnio-voice: --state: {state} is not a state of follow, or is damaged: ")
    assert 1 == errors.count("\n")
    assert (content, []) == (state.read_bytes(), service.requests)


@pytest.mark.parametrize("words", [[], ["--sip"]])
def test_the_state_of_another_account_or_kind_is_refused(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A state continues only its own account and kind of record."""
    state = tmp_path / "calls.state"
    Terminal(monkeypatch, "asyncio", {"key": LiveService([])}).follow(10, state=state)
    monkeypatch.undo()
    monkeypatch.setenv("ITNIO_API_KEY", "key" if words else "other")
    monkeypatch.setenv("ITNIO_API_SECRET", "secret")
    monkeypatch.setenv("ITNIO_BASE_URL", "http://127.0.0.1:1")
    capfd.readouterr()

    assert 2 == run(["follow", "--state", str(state), *words])
    assert "is of another key or kind of record for the account 'default'" in capfd.readouterr().err


@pytest.mark.usefixtures("service")
def test_a_missing_folder_is_an_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A state that cannot be written is exit code 1."""
    assert 1 == run(["follow", "--state", str(tmp_path / "none" / "calls.state")])
    assert "is not a folder" in capfd.readouterr().err


def wait_for(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    while not condition():
        time.sleep(0.05)


def stored(state: Path) -> bool:
    """Return whether a state has a checkpoint."""
    return state.exists() and b"position" in state.read_bytes()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_state_is_used_by_one_run_at_a_time(number: int, code: int, service: Sandbox, tmp_path: Path) -> None:
    """A second run is refused while the first one replaces the file; a signal ends the first run, with its state."""
    state, output = tmp_path / "calls.state", tmp_path / "calls.jsonl"
    words = [*COMMAND, "--state", str(state), "--every", "1s"]
    with output.open("ab") as file, subprocess.Popen(words, stdout=file, stderr=subprocess.PIPE) as process:  # noqa: S603
        wait_for(partial(stored, state))
        service.insert({"voiceId": "first"})
        wait_for(lambda: b"first" in output.read_bytes())
        second = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
        process.send_signal(number)
        errors = process.communicate()[1]
    line = (
        f"itnio-voice: --state: {state} is in use by another run. Wait until that has ended, or choose another file\n"
    )
    assert (2, "", line) == (second.returncode, second.stdout, second.stderr)
    assert (code, b"") == (process.returncode, errors)
    assert {"calls.state", "calls.jsonl"} == {path.name for path in tmp_path.iterdir()}
    assert stored(state)


def test_kills_lose_no_record(service: Sandbox, tmp_path: Path) -> None:
    """Killed at random times, with records that appear late, the runs together print every record.

    A line that a kill has cut stays in the file, and the next run begins a new line.
    """
    service.behaviour = Behaviour(late_share=0.3, late_by=2)
    state, output, chance = tmp_path / "calls.state", tmp_path / "calls.jsonl", random.Random(7)
    names = list[str]()

    def insert() -> None:
        names.extend(service.insert(*({"voiceId": f"{len(names) + each}"} for each in range(chance.randrange(1, 40)))))
        time.sleep(0.1)

    def printed() -> set[str]:
        found = set()
        for line in output.read_bytes().splitlines():
            try:
                found.add(json.loads(line)["voice_id"])
            except ValueError:
                continue
        return found

    def start() -> subprocess.Popen[bytes]:
        words = [*COMMAND, "--state", str(state), "--every", "1s", "--lookback", "30s"]
        return subprocess.Popen(words, stdout=file, stderr=subprocess.PIPE)  # noqa: S603

    with output.open("ab") as file:
        for _ in range(KILLS):
            process = start()
            wait_for(partial(stored, state))
            end = time.monotonic() + chance.uniform(0.5, 2.5)
            while time.monotonic() < end:
                insert()
            process.kill()
            process.communicate()
            if not output.read_bytes().endswith(b"\n"):
                continue
            file.write(b'{"cut": ')
            file.flush()
        process = start()
        wait_for(lambda: set(names) <= printed())
        process.terminate()
        assert b"" == process.communicate()[1]
    assert set(names) == printed()


@pytest.mark.usefixtures("service")
def test_nothing_is_written_without_a_state(tmp_path: Path, service: Sandbox) -> None:
    """The default command writes no file. It ends with 141 when it prints to a closed pipe."""
    words = [*COMMAND, "--every", "1s", "--start", "1h"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:  # noqa: S603
        assert process.stdout
        service.insert({"voiceId": "first"})
        assert b'"first"' in process.stdout.readline()
        process.stdout.close()
        service.insert({"voiceId": "second"})
        assert (141, b"") == (process.wait(), process.stderr.read() if process.stderr else b"")
    assert [] == list(tmp_path.iterdir())


def test_rows_on_a_terminal_line_up(service: Sandbox) -> None:
    """A terminal shows one heading and a row for each record; control characters are escapes."""
    service.insert({"voiceId": "1", "callee": "49\x1b[31m30", "code": "x" * 50, "submitTime": before(90)})
    service.insert({"voiceId": "2", "callee": "4930", "submitTime": before(30)})
    shown = on_a_terminal("follow", "--start", "1h", "--every", "1s", code=130, interrupt_after="4930")

    heading, *rows = [line.rstrip() for line in shown.splitlines() if line.strip(" ─\r")]
    assert ["time (UTC)", "called", "destination", "s", "code", "cost"] == re.split(r"  +", heading.strip())
    assert 2 == len(rows)
    assert r"49\x1b[31m30" in rows[0]
    assert "4930" in rows[1]


def before(seconds: int) -> str:
    """Return a time before now, as a record has it."""
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")
