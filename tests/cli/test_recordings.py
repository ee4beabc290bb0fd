"""The command `recordings`: the files, the manifest, and runs that are stopped."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from itnio_voice._files.manifest import MANIFEST
from itnio_voice.cli.app import run
from itnio_voice.sandbox import Sandbox

from .conftest import on_a_terminal

COMMAND = [sys.executable, "-m", "itnio_voice", "recordings", "61d", "--sip", "-o"]


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of a manifest."""
    return [json.loads(line) for line in (folder / MANIFEST).read_text().splitlines()]


def assert_consistent(folder: Path) -> list[dict[str, Any]]:
    """Check that the manifest lists each file once, as it is, and return its lines."""
    found = lines(folder)
    complete = [line for line in found if line["status"] == "complete"]
    for line in complete:
        content = (folder / line["file"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (line["size"], line["sha256"])
    assert {MANIFEST, *(line["file"] for line in complete)} == {path.name for path in folder.iterdir()}
    keys = [(line["account"], line["kind"], line["recording_file_id"]) for line in found]
    assert len(keys) == len(set(keys))
    return found


def url_requests(sandbox: Sandbox) -> int:
    """Return the number of recordings that were requested."""
    return sum(request.path == "/getRecordingFileUrl" for request in sandbox.requests)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the path of a folder that is created by the command."""
    return tmp_path / "calls"


def test_each_recording_is_a_file_and_a_line(sandbox: Sandbox, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The manifest has the record, the file and its digest; a second run fetches nothing."""
    assert 0 == run(["records", "61d", "--sip"])
    records = [json.loads(line) for line in capfd.readouterr()[0].splitlines()]
    recorded = {record["voice_id"]: record["recording_file_id"] for record in records if record["recording_file_id"]}
    assert recorded

    assert 0 == run(["recordings", "61d", "--sip", "-o", str(folder)])

    found = assert_consistent(folder)
    assert recorded == {line["voice_id"]: line["recording_file_id"] for line in found}
    assert {("default", "sip", "complete")} == {(line["account"], line["kind"], line["status"]) for line in found}
    assert re.fullmatch(
        rf"itnio-voice: {len(recorded)} recordings fetched \(0\.\d MB\) in .* s: .*calls\n", capfd.readouterr()[1]
    )
    before = url_requests(sandbox)
    assert 0 == run(["recordings", "61d", "--sip", "-o", str(folder), "--quiet"])
    assert before == url_requests(sandbox) == len(recorded)
    assert "" == capfd.readouterr()[1]
    assert found == assert_consistent(folder)


def test_files_that_are_gone_or_changed_are_fetched_again(sandbox: Sandbox, folder: Path) -> None:
    """A file that is missing, has another size, or is a link is fetched again."""
    assert 0 == run(["recordings", "61d", "--sip", "-o", str(folder)])
    before, requests = assert_consistent(folder), url_requests(sandbox)
    first, second, third, *_ = [folder / line["file"] for line in before]
    first.unlink()
    second.write_bytes(b"RIFF")
    third.rename(folder.parent / "elsewhere")
    third.symlink_to(folder.parent / "elsewhere")

    assert 0 == run(["recordings", "61d", "--sip", "-o", str(folder)])

    assert requests + 3 == url_requests(sandbox)
    assert before == assert_consistent(folder)
    assert not third.is_symlink()


def test_a_file_that_was_played_in_many_calls_is_fetched_once(sandbox: Sandbox, folder: Path) -> None:
    """Without --sip, the files are those that voice messages played."""
    assert 0 == run(["recordings", "61d", "-o", str(folder)])

    found = assert_consistent(folder)
    assert {"group"} == {line["kind"] for line in found}
    assert len(found) == url_requests(sandbox) < 150


def test_several_accounts_have_files_of_their_own(sandbox: Sandbox, accounts: Path, folder: Path) -> None:
    """The same id in two accounts is two files."""
    at = {"submitTime": (datetime.now(UTC) - timedelta(minutes=1)).isoformat(), "recordingFileId": "same.wav"}
    for key in sandbox.accounts:
        sandbox.insert(at, kind="sip", account=key)

    assert 0 == run(["recordings", "61d", "--sip", "-o", str(folder), "--accounts", str(accounts)])

    found = assert_consistent(folder)
    assert {"eu", "us"} == {line["account"] for line in found}
    assert 2 == len({line["file"] for line in found if line["recording_file_id"] == "same.wav"})


HOSTILE_IDS = [
    "../../outside.wav",
    "/etc/passwd",
    "..\\..\\outside.wav",
    ".hidden",
    "CON",
    "nul.wav",
    "manifest.jsonl",
    "a/b.wav",
    "Case.wav",
    "case.wav",
    "a b.wav",
    "a-b.wav",
    "x" * 900 + ".wav",
    "\x1b[2J\n.wav",
    "ä.WAV",
    "run.exe",
    "page.html",
    "-rf",
    "--help",
]


def test_names_of_files_are_safe_whatever_the_ids_are(sandbox: Sandbox, folder: Path) -> None:
    """Ids of a server cannot leave the folder, collide, or be hidden, reserved or long names."""
    at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    sandbox.insert(*({"submitTime": at, "recordingFileId": name} for name in HOSTILE_IDS), kind="sip")

    assert 0 == run(["recordings", "1h", "--sip", "-o", str(folder)])

    found = assert_consistent(folder)
    names = [line["file"] for line in found]
    assert set(HOSTILE_IDS) <= {line["recording_file_id"] for line in found}
    assert len(names) == len({name.lower() for name in names})
    assert all(re.fullmatch(r"sip-[A-Za-z0-9-]+\.(wav|bin)", name) and len(name) < 100 for name in names)
    assert [folder] == list(folder.parent.iterdir())


def test_an_id_that_cannot_be_one_is_a_failure(
    sandbox: Sandbox, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A record whose id is refused does not stop the others."""
    at = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    sandbox.insert({"submitTime": at, "recordingFileId": ".."}, {"submitTime": at, "recordingFileId": "a"}, kind="sip")

    assert 1 == run(["recordings", "2m", "--sip", "-o", str(folder)])

    assert ["a"] == [line["recording_file_id"] for line in assert_consistent(folder)]
    assert "recording '..': recording_file_id must be an id" in capfd.readouterr()[1]


@contextmanager
def lying_api(answers: dict[str, Any]) -> Iterator[str]:
    """Run an API with phone records whose recordings are `answers`: None for a missing one, a status, or bytes.

    It shares no code with the sandbox.
    """
    at = datetime.now(UTC) - timedelta(minutes=30)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def reply(self, content: bytes, status: int = 200) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            """Answer with all records, if the range has their time."""
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            start, end = (datetime.fromisoformat(query["params"][name]) for name in ("strTime", "endTime"))
            names = answers if start <= at <= end else ()
            records = [{"voiceId": f"v-{name}", "recordingFileId": name} for name in names]
            page = {"total": len(records), "current": query["current"], "size": query["size"], "records": records}
            self.reply(json.dumps({"status": "0", "reason": "success", "data": page}).encode())

        def do_GET(self) -> None:
            """Answer with the URL of a recording, or with the recording."""
            name = self.path.partition("=")[2].partition("&")[0]
            answer = answers[name]
            if "getRecordingFileUrl" in self.path:
                url = f"http://127.0.0.1:{server.server_port}/file?name={name}"
                data = None if answer is None else {"url": url}
                self.reply(json.dumps({"status": "0", "reason": "success", "data": data}).encode())
            elif isinstance(answer, int):
                self.reply(b"", answer)
            else:
                self.reply(answer)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the name in the base class
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/voice"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_missing_recordings_are_listed_and_requested_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A missing recording is a line without a file, and exit code 1; when it appears, its line is replaced."""
    answers: dict[str, Any] = {"a": b"A", "b": None, "c": 404, "d": 403}
    monkeypatch.delenv("ITNIO_ACCOUNTS", raising=False)
    monkeypatch.setenv("ITNIO_API_KEY", "key")
    monkeypatch.setenv("ITNIO_API_SECRET", "the-secret")
    with lying_api(answers) as url:
        monkeypatch.setenv("ITNIO_BASE_URL", url)
        command = ["recordings", "1h", "--sip", "-o", str(folder)]
        for _ in range(2):
            assert 1 == run(command)
            found = {line["recording_file_id"]: line for line in assert_consistent(folder)}
            assert {"a": "complete", "b": "missing", "c": "missing"} == {
                name: line["status"] for name, line in found.items()
            }
            assert (None, None, None) == (found["b"]["file"], found["b"]["size"], found["b"]["sha256"])
        errors = capfd.readouterr()[1]
        assert "recording 'd': HTTPStatusError: http://127.0.0.1" in errors
        assert "0 recordings fetched (0.0 MB)" in errors
        assert "1 complete before, 2 missing at the vendor, 1 failed" in errors
        assert "name=" not in errors
        answers.update(b=b"B", c=b"C", d=b"")
        assert 0 == run(command)

    assert ["complete"] * 4 == [line["status"] for line in assert_consistent(folder)]


def test_a_killed_run_damages_nothing(sandbox: Sandbox, folder: Path) -> None:
    """Killed at any time, a run leaves complete files only; the last one fetches the rest, and each file once."""
    for wait in (0, 1, 3, 9):
        with subprocess.Popen([*COMMAND, str(folder), "--concurrency", "1"], stderr=subprocess.PIPE) as process:  # noqa: S603
            while process.poll() is None and len(list(folder.glob("sip-*"))) < wait:
                time.sleep(0.001)
            process.send_signal(signal.SIGKILL)
        if not (folder / MANIFEST).exists():
            continue
        for line in (folder / MANIFEST).read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                entry = json.loads(line)
                assert entry["size"] == (folder / entry["file"]).stat().st_size
    with (folder / MANIFEST).open("ab") as file:
        file.write(b'{"voice_id": "cut o')
    (folder / ".sip-x.wav.abcd_123.part").write_bytes(b"RIFF")
    before = sum(line.endswith(b"\n") for line in (folder / MANIFEST).read_bytes().splitlines(keepends=True))
    requests = url_requests(sandbox)

    assert 0 == run(["recordings", "61d", "--sip", "-o", str(folder)])

    assert len(assert_consistent(folder)) - before == url_requests(sandbox) - requests


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_no_part_file(number: int, sandbox: Sandbox, folder: Path) -> None:
    """A signal ends the run with the usual exit code; nothing but complete files is left."""
    with subprocess.Popen([*COMMAND, str(folder)], stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        while process.poll() is None and not list(folder.glob("sip-*")):
            time.sleep(0.001)
        process.send_signal(number)
        _, errors = process.communicate()

    assert (128 + number, "") == (process.returncode, errors)
    assert not list(folder.glob(".*"))
    assert all((folder / line["file"]).exists() for line in lines(folder))
    assert sandbox.requests


def test_a_folder_is_used_by_one_run_at_a_time(
    sandbox: Sandbox, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A second run in the same folder is refused before anything is requested."""
    from itnio_voice._files.manifest import Manifest

    with Manifest(folder):
        assert 1 == run(["recordings", "61d", "--sip", "-o", str(folder)])

    assert f"{folder} is in use by another download" in capfd.readouterr()[1].replace("\n", " ")
    assert not sandbox.requests


def test_folders_that_cannot_be_used_are_refused(
    sandbox: Sandbox, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A file, a folder without a parent, and a folder with another manifest.jsonl are refused, and unchanged."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "other").mkdir()
    for content in ('{"name": "x"}\n', "hello\n", "[]\n", "1\n"):
        (tmp_path / "other" / MANIFEST).write_text(content)
        for name in ("file", "missing/folder", "other"):
            assert 1 == run(["recordings", "61d", "--sip", "-o", str(tmp_path / name)])
            assert 1 == capfd.readouterr()[1].count("\n")
        assert content == (tmp_path / "other" / MANIFEST).read_text()
    assert b"x" == (tmp_path / "file").read_bytes()
    assert not sandbox.requests


@pytest.mark.parametrize(
    "words", [["61d"], ["61d", "-o"], ["-o", "x"], ["61d", "-o", "x", "--concurrency", "0"], ["now", "1d", "-o", "x"]]
)
def test_wrong_usage_is_exit_code_2(
    words: list[str], sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is requested."""
    monkeypatch.chdir(tmp_path)
    assert 2 == run(["recordings", *words])
    assert not sandbox.requests


def test_the_failure_of_an_account_is_reported(
    sandbox: Sandbox, accounts: Path, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With --on-error collect, the recordings of the other accounts are fetched; the exit code is 1."""
    accounts.write_text(accounts.read_text().replace("us-secret", "wrong"))
    command = ["recordings", "61d", "--sip", "-o", str(folder), "--accounts", str(accounts)]

    assert 1 == run(command)
    assert "AuthenticationError" in capfd.readouterr()[1]
    assert 1 == run([*command, "--on-error", "collect"])

    assert "AuthenticationError" in capfd.readouterr()[1]
    assert {"eu"} == {line["account"] for line in assert_consistent(folder)}
    assert sandbox.requests


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere")
def test_a_folder_without_permission_is_an_error(sandbox: Sandbox, folder: Path) -> None:
    """A folder that cannot be written is refused before anything is requested."""
    folder.mkdir(mode=0o500)
    assert 1 == run(["recordings", "61d", "--sip", "-o", str(folder)])
    assert not sandbox.requests


def test_a_terminal_shows_files_and_bytes(sandbox: Sandbox, folder: Path) -> None:
    """The progress bar has the number of files and their size."""
    shown = on_a_terminal("recordings", "61d", "--sip", "-o", str(folder), columns=160)
    assert re.search(r"window \d/\d \d+ files 0\.\d MB \d+ requests", shown)
    assert sandbox.requests
