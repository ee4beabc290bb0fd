"""The recipes of docs/cluster.md on Ray and Spark, as shown: column types, sums, products and means equal Arrow's."""

import importlib.util
import os
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from itnio_voice.outputs.partitions import mean_amount, partition_schema, partitions, read_partition
from itnio_voice.sandbox import Sandbox

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ACCOUNTS = {"eu": ("key-of-eu", "secret-of-eu"), "us": ("key-of-us", "secret-of-us")}
DAY = timedelta(days=1)
END = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 2 * DAY
START = END - 4 * DAY
SHOWN: dict[str, Any] = {"__name__": "shown", "start": START, "end": END, "timedelta": timedelta}
"""The names that the recipes use from the page's first block."""


def needs(engine: str) -> pytest.MarkDecorator:
    """Skip a test where an engine is not installed."""
    missing = importlib.util.find_spec(engine) is None
    return pytest.mark.skipif(missing, reason=f"{engine} is not installed: nox -s engines installs it")


pytestmark = pytest.mark.engines


def recipes(engine: str) -> list[str]:
    """Return the Python blocks of the page's section about an engine."""
    section = PAGE.read_text().partition(f"\n## On {engine}\n")[2].partition("\n## ")[0]
    return BLOCK.findall(section)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """Run a sandbox with two accounts, which this process and its workers find in a file."""
    with Sandbox(records=500, start=START, end=END, accounts=dict(ACCOUNTS.values())) as sandbox:
        file = tmp_path_factory.mktemp("accounts") / "accounts.toml"
        file.touch(mode=0o600)
        table = '[{}]\napi_key = "{}"\napi_secret = "{}"\nbase_url = "{}"\n'
        file.write_text("".join(table.format(name, *pair, sandbox.base_url) for name, pair in ACCOUNTS.items()))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ITNIO_ACCOUNTS", str(file))
            yield sandbox


@pytest.fixture(scope="module")
def expected(sandbox: Sandbox) -> pa.Table:
    """Return the partitions' tables, read here."""
    tables = [read_partition(**part) for part in partitions((), START, END, span=DAY)]
    assert sandbox.requests
    return pa.concat_tables(tables)


def ordered(table: pa.Table) -> pa.Table:
    """Return rows by account and id."""
    return table.sort_by([("account", "ascending"), ("voice_id", "ascending")]).combine_chunks()


def by_account(table: pa.Table) -> dict[str, tuple[Decimal, int]]:
    """Return the sum and the count of the costs of each account."""
    rows = table.group_by("account").aggregate([("cost", "sum"), ("cost", "count")]).to_pylist()
    return {row["account"]: (row["cost_sum"], row["cost_count"]) for row in rows}


def run(blocks: list[str], names: dict[str, Any]) -> dict[str, Any]:
    """Run blocks of the page in one namespace, and return it."""
    for block in blocks:
        exec(compile(block, "shown", "exec"), names)  # noqa: S102 -- our own documentation
    return names


def assert_figures(names: dict[str, Any], table: pa.Table) -> None:
    """Compare total, mean and product with Arrow's, in all digits."""
    amounts = pc.sum(pc.multiply(table["cost"], table["rate"])).as_py()
    assert str(pc.sum(table["cost"]).as_py()) == str(names["total"])
    assert str(pc.mean(table["cost"]).as_py()) == str(names["mean"])
    assert str(amounts) == str(names["product"])


@pytest.fixture(scope="module")
def ray(sandbox: Sandbox) -> Iterator[Any]:  # noqa: ARG001 -- the workers get its variables
    """Run Ray on two processors of this machine."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()


@needs("ray")
@pytest.mark.filterwarnings("ignore")  # of Ray's own code
def test_recipes_of_ray(ray: Any, expected: pa.Table) -> None:
    """Ray Data and Ray's tasks return the rows and types of the partitions, and exact figures."""
    with_data, with_tasks, with_product = recipes("Ray")
    names = run([with_data], dict(SHOWN))
    tables = [pa.concat_tables(ray.get(names["calls"].to_arrow_refs()))]
    run([with_tasks], names)
    tables.append(pa.concat_tables(ray.get(names["calls"].to_arrow_refs())))
    run([with_product], names)
    sums = names["calls"].groupby("account").sum("cost").take_all()

    for table in tables:
        assert partition_schema() == table.schema
        assert ordered(expected).equals(ordered(table))
    assert_figures(names, expected)
    assert {name: total for name, (total, _) in by_account(expected).items()} == {
        row["account"]: row["sum(cost)"] for row in sums
    }


@needs("ray")
@pytest.mark.filterwarnings("ignore")  # of Ray's own code
def test_errors_and_event_loops_on_ray(ray: Any, sandbox: Sandbox) -> None:
    """An error reaches the caller with its class and without a secret; an async actor gets the advice."""
    from itnio_voice import TimeRangeError

    class Reader:
        async def read(self, part: Any) -> pa.Table:
            return read_partition(**part)

    def read(part: Any) -> pa.Table:
        return read_partition(**part)

    (old,) = partitions(["eu"], START - 90 * DAY, START - 89 * DAY)
    with pytest.raises(ray.exceptions.RayTaskError) as failed:
        ray.get(ray.remote(read).remote(old))
    with pytest.raises(RuntimeError, match="an event loop is running in this thread"):
        ray.get(ray.remote(Reader).remote().read.remote(old))

    assert isinstance(failed.value.cause, TimeRangeError)
    assert not [text for text in ("secret-of-eu", sandbox.base_url) if text in str(failed.value)]


@pytest.fixture(scope="module")
def spark(sandbox: Sandbox) -> Iterator[Any]:  # noqa: ARG001 -- the workers get its variables
    """Run Spark on two processors of this machine, in another time zone than UTC."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    builder = builder.config("spark.sql.shuffle.partitions", "2").config("spark.driver.bindAddress", "127.0.0.1")
    session = builder.config("spark.sql.session.timeZone", "America/New_York").getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@needs("pyspark")
@pytest.mark.skipif(not (shutil.which("java") or "JAVA_HOME" in os.environ), reason="Spark needs Java")
@pytest.mark.filterwarnings("ignore")  # of Spark's own code
def test_recipes_of_spark(spark: Any, expected: pa.Table) -> None:
    """A data source and mapInArrow return the rows and types of the partitions, and exact figures."""
    from pyspark.sql import functions

    as_source, with_map = recipes("Spark")
    names = run([as_source], SHOWN | {"spark": spark})
    assert len(names["parts"]) == names["calls"].rdd.getNumPartitions()
    frames = [names["calls"]]
    run([with_map], names)
    frames.append(names["calls"])
    columns = functions.sum("cost"), functions.count("cost")
    rows = names["calls"].groupBy("account").agg(*columns).collect()

    for frame in frames:
        table = frame.toArrow()
        assert partition_schema() == table.schema
        assert ordered(expected).equals(ordered(table))
    assert_figures(names, expected)
    assert by_account(expected) == {row[0]: (row[1], row[2]) for row in rows}
    for account, total, count in rows:
        costs = expected.filter(pc.equal(expected["account"], account))["cost"]
        assert pc.mean(costs).as_py() == mean_amount(total, count)
