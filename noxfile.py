"""The sessions of nox, for developers and CI: tests, coverage, lint, types, docs, bench, demo, engines, package."""

import hashlib
import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests", "lint", "types", "docs"]
nox.options.reuse_existing_virtualenvs = True

PYPROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PYPROJECT, name)


VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.14t")
"""The supported versions of Python; t is free-threaded."""


def interpreter(version: str) -> str | None:
    """Return the path of a Python of this version, of the system, pyenv or uv; None if there is none."""
    free, number = version.endswith("t"), version.rstrip("t")
    uv = f"cpython-{number}.*+freethreaded-*" if free else f"cpython-{number}.*[0-9]-*"
    homes = (
        (Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions"), f"{number}.*{'[0-9]t' * free}"),
        (Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python")), uv),
    )
    # The shims of pyenv are in PATH also for versions that they refuse to start.
    path = os.pathsep.join(place for place in os.get_exec_path() if Path(place).name != "shims")
    kept = (python for home, pattern in homes for python in sorted(home.glob(f"{pattern}/bin/python{version}")))
    return shutil.which(f"python{version}", path=path) or next(map(str, kept), None)


FOUND = {version: path for version in VERSIONS if (path := interpreter(version))}
STABLE = [path for version, path in FOUND.items() if not version.endswith("t")] or [None]
OLDEST, NEWEST = STABLE[0], STABLE[-1]


def log_interpreters(session: nox.Session) -> None:
    """Log the versions of Python that were found, and those that are missing here."""
    missing = ", ".join(version for version in VERSIONS if version not in FOUND)
    session.log(f"Python of this session: {session.python}; found: {', '.join(FOUND)}; missing: {missing or 'none'}")


# More processes than processors, because many tests wait.
PYTEST = ("pytest", "-n", str(min((os.cpu_count() or 1) + 1, 8)), "--dist", "worksteal")


@nox.session(python=NEWEST)
def tests(session: nox.Session) -> None:
    """Run the tests on the newest Python that is found; `--force-python 3.12` chooses another one."""
    log_interpreters(session)
    session.install("-e", ".[all]", *group("tests"))
    session.run(*PYTEST, *session.posargs)


@nox.session(python=OLDEST)
def coverage(session: nox.Session) -> None:
    """Run the tests on the oldest Python with the lowest versions of the packages, and report their coverage."""
    log_interpreters(session)
    session.install("uv")
    python = os.path.join(session.bin, "python")
    requirements = ("-e", ".[all]", *group("tests"))
    session.run("uv", "pip", "install", "--python", python, "--resolution", "lowest-direct", *requirements)
    env = {"COVERAGE_FILE": os.path.join(session.create_tmp(), "coverage")}
    session.run("coverage", "erase", env=env)
    session.run("coverage", "run", "-m", *PYTEST, *session.posargs, env=env)
    if not session.posargs:
        session.run("coverage", "combine", "--quiet", env=env)
        session.run("coverage", "report", "--fail-under=97", env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format."""
    session.install(*group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, also those of the public interface."""
    session.install("-e", ".[all]", *group("types"))
    session.run("mypy", "itnio_voice", "tests", "docs/examples")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "itnio_voice", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    session.install("-e", ".[all]", *group("docs"))
    session.run("sphinx-build", "-W", "-b", "html", "docs", "docs/_build", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Compare the library with hand-written loops, in one run; arguments choose sections."""
    session.install("-e", ".[all]", *group("bench"))
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def demo(session: nox.Session) -> None:
    """Read two months of records of a sandbox, with an installed wheel."""
    session.install(".[cli,sandbox]")
    session.chdir(session.create_tmp())
    session.run("itnio-voice", "demo", *session.posargs)


@nox.session
def package(session: nox.Session) -> None:
    """Build the archives twice and compare them; list the licences of the core, and write its bill of materials."""
    session.install(*group("package"))
    folder = Path(session.create_tmp())
    env = {"SOURCE_DATE_EPOCH": "1767225600"}
    digests = []
    for build in ("first", "second"):
        shutil.rmtree(folder / build, ignore_errors=True)
        session.run("python", "-m", "hatchling", "build", "-d", str(folder / build), env=env)
        digests.append({file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.glob(f"{build}/*")})
    if digests[0] != digests[1]:
        session.error(f"the archives are not reproducible: {digests}")
    session.log(f"The archives are reproducible: {digests[0]}")
    installed = folder / "installed"
    session.run("python", "-m", "virtualenv", "--clear", "--quiet", str(installed))
    python = str(shutil.which("python", path=f"{installed / 'bin'}{os.pathsep}{installed / 'Scripts'}"))
    session.run("python", "-m", "pip", "--python", python, "install", "--quiet", *map(str, folder.glob("first/*.whl")))
    session.run("pip-licenses", f"--python={python}", "--format=markdown")
    session.run("cyclonedx-py", "environment", python, "--output-file", str(folder / "sbom.cdx.json"))


@nox.session
def engines(session: nox.Session) -> None:
    """Run the recipes for Dagster, Dask, Ray and Spark, which needs a Java runtime: Debian's default-jre-headless."""
    session.install("-e", ".[arrow,dask,sandbox]", *group("engines"), *group("tests"))
    recipes = ("tests/examples/test_dagster_calls.py", "tests/outputs/test_engines.py")
    session.run("pytest", "-m", "engines", *recipes, *session.posargs)
