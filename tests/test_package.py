"""The built archives: the files of the wheel and the source archive, and licences."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import itnio_voice
from itnio_voice.sandbox import Behaviour, Fault, Sandbox

from .conftest import environment_of

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = f"itnio_voice-{itnio_voice.__version__}"
BESIDE = {
    "CHANGELOG.md",
    "CODE_OF_CONDUCT.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "SECURITY.md",
    "README.md",
    "noxfile.py",
    "pyproject.toml",
    "pytest_itnio_voice.py",
    "Dockerfile",
    ".gitignore",
}
LICENCES = {r"\bLGPL": "LGPL", "MIT": "MIT", "BSD": "BSD", "Apache": "Apache", "MPL|Mozilla": "MPL", "PSF": "PSF"}
"""The words by which a kind of licence is recognized."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the wheel and the source archive, built by the backend itself and so without network."""
    folder = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], check=True, cwd=ROOT)  # noqa: S603
    return folder


def ours() -> set[str]:
    """Return the project's files: those that git tracks or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.check_output(command, cwd=ROOT, text=True).splitlines()  # noqa: S603
    return {file for file in files if (ROOT / file).exists()}


needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no git checkout")


@needs_git
def test_the_wheel_contains_only_the_package(built: Path) -> None:
    """The wheel contains the package, typed, its pytest plugin, its licence and its command, and nothing else."""
    (wheel,) = built.glob("*.whl")
    about = {
        f"{NAME}.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        commands = archive.read(f"{NAME}.dist-info/entry_points.txt").decode()

    assert len(names) == len(set(names))
    assert {file for file in ours() if file.startswith(("itnio_voice/", "pytest_itnio_voice"))} | about == set(names)
    assert "itnio_voice/py.typed" in names
    assert "itnio-voice = itnio_voice.__main__:main" in commands
    assert "[pytest11]\npytest_itnio_voice = pytest_itnio_voice" in commands


@needs_git
def test_the_source_archive_builds_the_same_wheel(built: Path) -> None:
    """The source archive has what is needed to build and test the package; a wheel from it has the same bytes."""
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {Path(name).relative_to(NAME).as_posix() for name in opened.getnames()}
        # Python 3.11.2 has no filters yet, and Python 3.12 warns of an extraction without one.
        opened.extraction_filter = getattr(tarfile, "data_filter", None)
        opened.extractall(built)  # noqa: S202
    again = built / "again"
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(again)]
    subprocess.run(command, check=True, cwd=built / NAME)  # noqa: S603
    folders = ("itnio_voice/", "tests/", "docs/")

    assert {file for file in ours() if file.startswith(folders)} | BESIDE | {"PKG-INFO"} == names
    assert next(built.glob("*.whl")).read_bytes() == next(again.glob("*.whl")).read_bytes()


def needed(requirement: str, seen: set[str]) -> Iterator[str]:
    """Yield the name of a required package, and those of the packages that it requires here."""
    wanted = Requirement(requirement)
    name = re.sub(r"[-_.]+", "-", wanted.name).lower()
    if name in seen or name == "itnio-voice":
        return
    seen.add(name)
    yield name
    for below in distribution(name).requires or []:
        marker = Requirement(below).marker
        if not marker or any(marker.evaluate({"extra": extra}) for extra in wanted.extras or {""}):
            yield from needed(below, seen)


READ = """
import sys
from importlib.metadata import packages_distributions

core = set(sys.argv[1:])
others = {
    package
    for package, names in packages_distributions().items()
    if not core & {name.lower().replace("_", "-") for name in names}
}
# What is loaded already belongs to a measurement of coverage, for example.
sys.modules.update(dict.fromkeys(others - sys.modules.keys() - {"itnio_voice"}))

import asyncio, datetime
from itnio_voice import VoiceSession

async def read():
    async with VoiceSession.from_env() as session:
        start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=61)
        print(len(await session.records(start, expired="skip").collect()))

asyncio.run(read())
for package, names in packages_distributions().items():
    if sys.modules.get(package):
        print(*(name.lower().replace("_", "-") for name in names))
"""


@pytest.mark.itnio_sandbox(behaviour=Behaviour(faults=(Fault("status_503", times=1),)))
def test_a_walk_imports_the_dependencies_and_nothing_else(itnio_sandbox: Sandbox) -> None:
    """Records are read where only the core's dependencies can be imported, and each direct one is imported."""
    seen: set[str] = set()
    core = [name for text in PROJECT["dependencies"] for name in needed(text, seen)]
    command = [sys.executable, "-c", READ, *core]
    output = subprocess.check_output(command, text=True, cwd=ROOT, env=environment_of(itnio_sandbox))  # noqa: S603
    number, *imported = output.split()

    assert int(number) == len(itnio_sandbox.ids())
    assert {Requirement(text).name for text in PROJECT["dependencies"]} <= set(imported)


def licences(text: str) -> set[str]:
    """Return the kinds of licences that a text names."""
    return {kind for words, kind in LICENCES.items() if re.search(words, text)}


def licences_of(name: str) -> set[str]:
    """Return the kinds of licences in a package's metadata."""
    metadata = distribution(name).metadata.json
    classifiers = [item for item in metadata.get("classifier", []) if item.startswith("License")]
    return licences(f"{metadata.get('license_expression')} {classifiers} {metadata.get('license', '')!s:.60}")


@pytest.mark.parametrize(("name", "version"), [("httpx", "1.0.dev6"), ("httpx", "1.0"), ("httpcore2", "3.0")])
def test_next_majors_are_excluded(name: str, version: str) -> None:
    """Versions that lack names which the package uses are not installed, not even as pre-releases."""
    requirements = {requirement.name: requirement for requirement in map(Requirement, PROJECT["dependencies"])}

    assert not requirements[name].specifier.contains(version, prereleases=True)


def test_licences_are_listed() -> None:
    """Each package of the core and of an extra is in the documentation, with its licence."""
    rows = re.findall(r"^\| ([a-z0-9-]+) \| ([^|]+) \|", (ROOT / "docs" / "licences.md").read_text(), re.MULTILINE)
    table = {name: licences(licence) for name, licence in rows if name != "package"}
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    seen: set[str] = set()
    core = [name for text in PROJECT["dependencies"] for name in needed(text, seen)]
    named = {Requirement(text).name for text in extras} - {"itnio-voice"}

    assert len(core) > 10
    assert {name: licences_of(name) for name in {*core, *named}} == table


def test_all_licences_are_of_known_kinds() -> None:
    """No installed package, of any extra, has a licence of another kind."""
    seen: set[str] = set()
    extras = [text for texts in PROJECT["optional-dependencies"].values() for text in texts]
    names = [name for text in [*PROJECT["dependencies"], *extras] for name in needed(text, seen)]

    assert len(names) > 30
    assert [] == [name for name in names if not licences_of(name)]
