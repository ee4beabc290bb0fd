"""The documentation's asset of Dagster: a partition has the records of its day."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from itnio_voice.sandbox import Sandbox
from tests.conftest import environment_of

from .loading import load


@pytest.mark.engines
@pytest.mark.filterwarnings("ignore")  # of Dagster's own dependencies
def test_a_partition_has_the_records_of_its_day(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A partition is a complete file, also when it is run again."""
    dg: Any = pytest.importorskip("dagster")
    day = datetime.now(UTC).date() - timedelta(days=3)
    start = datetime.combine(day, time(), UTC)
    monkeypatch.setenv("CALLS_FOLDER", str(tmp_path))
    with Sandbox(records=300, start=start - timedelta(days=1), end=start + timedelta(days=2)) as sandbox:
        for name, value in environment_of(sandbox).items():
            monkeypatch.setenv(name, value)
        job: Any = load("dagster_calls")
        for _ in range(2):
            assert dg.materialize([job.call_records], partition_key=str(day)).success
        ids: list[Any] = parquet.read_table(tmp_path / f"{day}.parquet")["voice_id"].to_pylist()

        assert sorted(sandbox.ids(start, start + timedelta(days=1))) == sorted(ids)
    assert [f"{day}.parquet"] == [path.name for path in tmp_path.iterdir()]
