"""`itnio-voice sync`, as it is typed."""

from pathlib import Path

import duckdb
import pytest

from itnio_voice.cli.app import run
from itnio_voice.sandbox import Sandbox

from .conftest import ServerTime


@pytest.mark.parametrize("ahead", [-7200, 7200])
def test_a_wrong_clock(
    ahead: int, skewed: Sandbox, server_time: ServerTime, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sync reads up to the server's time. One line reports where that is behind; a later run goes on."""
    server_time.ahead = ahead
    words = ["sync", "--since", "1d", "--lookback", "0s", "--database", str(tmp_path / "calls.duckdb")]
    skewed.insert({"submitTime": server_time.after(-60).isoformat()})
    assert 0 == run(words)
    errors = capsys.readouterr().err
    assert (ahead < 0) == errors.startswith("itnio-voice: read up to ")
    assert (ahead < 0) == ("; run the command again after " in errors)
    assert (ahead < 0) == errors.count("\n")
    server_time.ahead += 7200
    skewed.insert({"submitTime": server_time.after(-3600).isoformat()})

    assert 0 == run(words)
    assert "" == capsys.readouterr().err
    with duckdb.connect(str(tmp_path / "calls.duckdb"), read_only=True) as connection:
        found = connection.execute("SELECT voice_id FROM itnio_voice.voice_records").fetchall()
    assert skewed.ids() == {name for (name,) in found}


@pytest.mark.usefixtures("skewed")
def test_a_start_in_the_future(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A start that is not before now is wrong usage."""
    assert 2 == run(["sync", "--since", "2100-01-01", "--database", str(tmp_path / "calls.duckdb")])
    assert "start must be before end" in capsys.readouterr().err
