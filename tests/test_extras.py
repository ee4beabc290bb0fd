"""Extras: each command and module runs with its own extra, and names the command that installs it without."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from itnio_voice._extras import EXTRAS, install_command, requirement
from itnio_voice.sandbox import Sandbox

from .conftest import environment_of

ROOT = Path(__file__).parent.parent
BLOCKED = "import sys; sys.modules.update(dict.fromkeys({names!r})); {code}"
COMMAND_LINE = "from itnio_voice.__main__ import main; main()"


def run_without(packages: set[str], code: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process that cannot import these packages."""
    script = BLOCKED.format(names=sorted(packages), code=code)
    command = [sys.executable, "-c", script, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # noqa: S603


def explanation(package: str, extra: str) -> str:
    """Return the text for a missing package of an extra."""
    return f"{package} is not installed. Install the extra {extra!r}: {install_command(extra)}\n"


@pytest.mark.parametrize(
    ("package", "extra", "words"),
    [
        ("cyclopts", "cli", ["--help"]),
        ("rich", "cli", ["check"]),
        ("starlette", "sandbox", ["demo"]),
        ("uvicorn", "sandbox", ["sandbox"]),
        ("pyarrow", "arrow", ["export", "1d", "-o", "calls.parquet"]),
        ("pyarrow", "arrow", ["export", "1d", "-o", "calls.arrow", "--resume"]),
        ("pyarrow", "dlt", ["sync", "--since", "1d"]),
        ("dlt", "dlt", ["sync", "--since", "1d"]),
        ("duckdb", "dlt", ["verify", "calls.duckdb"]),
        ("duckdb", "report", ["report", "calls.parquet"]),
        ("altair", "report", ["report", "calls.parquet"]),
        ("vl_convert", "report", ["report", "calls.parquet"]),
    ],
)
def test_a_command_names_its_missing_extra(package: str, extra: str, words: list[str], tmp_path: Path) -> None:
    """A command without its extra prints one line with the install command, exits with 2 and writes no file."""
    environment = os.environ | {"ITNIO_API_KEY": "key", "ITNIO_API_SECRET": "secret"}
    done = run_without({package}, COMMAND_LINE, *words, env=environment | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path)

    assert (2, f"itnio-voice: {explanation(package, extra)}") == (done.returncode, done.stderr)
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("opentelemetry", "opentelemetry"),
        ("outputs.arrow", "arrow"),
        ("outputs.cluster", "dask"),
        ("outputs.partitions", "arrow"),
        ("outputs.report", "report"),
        ("outputs.verify", "dlt"),
        ("outputs.warehouse", "dlt"),
        ("sandbox", "sandbox"),
    ],
)
def test_a_module_names_its_missing_extra(module: str, extra: str) -> None:
    """Importing a module without any package of its extra raises an error with the install command."""
    done = run_without(set(EXTRAS[extra]), f"import itnio_voice.{module}")
    last = done.stderr.splitlines(keepends=True)[-1]

    assert last in [f"itnio_voice._extras.MissingExtraError: {explanation(name, extra)}" for name in EXTRAS[extra]]


def test_another_missing_module_is_not_explained() -> None:
    """A missing module that belongs to no extra is reported unchanged."""
    done = run_without({"sqlite3"}, COMMAND_LINE, "export", "1d", "-o", "calls.csv")

    assert "ModuleNotFoundError: import of sqlite3 halted" in done.stderr


@pytest.mark.parametrize(
    "words", [["records", "7d"], ["export", "7d", "-o", "c.csv"], ["export", "7d", "-o", "c.jsonl"]]
)
def test_the_extra_cli_suffices_for_text(words: list[str], itnio_sandbox: Sandbox, tmp_path: Path) -> None:
    """Records are printed, and exported as CSV and JSON lines, with the extra `cli` alone."""
    others = set().union(*EXTRAS.values()) - EXTRAS["cli"]
    environment = environment_of(itnio_sandbox) | {"PYTHONPATH": str(ROOT)}
    environment.pop("ITNIO_ACCOUNTS", None)
    done = run_without(others, COMMAND_LINE, *words, env=environment, cwd=tmp_path)

    assert 0 == done.returncode, done.stderr
    assert done.stdout or (tmp_path / words[-1]).read_text()


def test_the_table_has_every_package_of_each_extra() -> None:
    """The packages of each extra are those of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    imports: dict[str, set[str]] = {}
    for package, distributions in packages_distributions().items():
        for name in distributions:
            imports.setdefault(re.sub(r"[-_.]+", "-", name).lower(), set()).add(package)

    def packages(extra: str) -> set[str]:
        found = set()
        for text in project["optional-dependencies"][extra]:
            wanted = Requirement(text)
            for name in (wanted.name, *wanted.extras):
                found |= set() if wanted.name == "itnio-voice" else imports.get(name, set())
            for other in wanted.extras if wanted.name == "itnio-voice" else ():
                found |= packages(other)
        return {package for package in found if not package.startswith("_")}

    extras = project["optional-dependencies"].keys() - {"all"}

    assert EXTRAS.keys() == extras
    assert [] == [(extra, EXTRAS[extra] - packages(extra)) for extra in extras if EXTRAS[extra] - packages(extra)]
    assert set(project["optional-dependencies"]["all"]) == {f"itnio-voice[{','.join(sorted(extras))}]"}


@pytest.mark.parametrize(
    ("origin", "arguments"),
    [
        (None, ["itnio-voice[arrow]"]),
        ({"url": "file:///home/a%20b", "dir_info": {"editable": True}}, ["-e", "/home/a b[arrow]"]),
        ({"url": "file:///home/voice", "dir_info": {}}, ["/home/voice[arrow]"]),
        ({"url": "file:///w.whl", "archive_info": {}}, ["itnio-voice[arrow] @ file:///w.whl"]),
        (
            {"url": "https://example.com/voice", "vcs_info": {"vcs": "git", "commit_id": "abc"}},
            ["itnio-voice[arrow] @ git+https://example.com/voice@abc"],
        ),
    ],
)
def test_an_extra_is_installed_from_where_the_package_came(origin: dict[str, Any] | None, arguments: list[str]) -> None:
    """The install command names the folder, archive or repository of the package, quoted for a shell."""
    assert arguments == requirement("arrow", origin)
    assert [sys.executable, "-m", "pip", "install"] == shlex.split(install_command("arrow"))[:4]
