"""The sessions of nox, for developers and CI: tests, coverage, lint, types, docs, bench, demo."""

import os

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "virtualenv"
nox.options.sessions = ["tests", "lint", "types", "docs"]
nox.options.reuse_existing_virtualenvs = True

PYPROJECT = nox.project.load_toml("pyproject.toml")


def group(name: str) -> list[str]:
    """Return the requirements of a dependency group."""
    return nox.project.dependency_groups(PYPROJECT, name)


# More processes than processors, because many tests wait.
PYTEST = ("pytest", "-n", str(min((os.cpu_count() or 1) + 1, 8)), "--dist", "worksteal")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests."""
    session.install("-e", ".[all]", *group("tests"))
    session.run(*PYTEST, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests with the lowest versions that pyproject.toml allows, and report their coverage."""
    session.install("uv")
    python = os.path.join(session.bin, "python")  # noqa: PTH118 -- an argument's text
    requirements = ("-e", ".[all]", *group("tests"))
    session.run("uv", "pip", "install", "--python", python, "--resolution", "lowest-direct", *requirements)
    env = {"COVERAGE_FILE": os.path.join(session.create_tmp(), "coverage")}  # noqa: PTH118 -- a variable's text
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
