"""The house: imports point down, the core stands without its extras, and the public names are all there."""

import ast
import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import itnio_voice

PACKAGE = Path(itnio_voice.__file__).parent
FLOORS = {
    **dict.fromkeys(["models", "windows", "signing", "printable", "errors"], 1),
    **dict.fromkeys(["checkpoint", "converters", "endpoints", "identity", "learned", "paging", "plan"], 2),
    **dict.fromkeys(["open_window", "outbox", "retry", "rows", "server_clock", "values", "widths", "window_pass"], 2),
    **dict.fromkeys(["transport", "pool", "slots", "pace", "envelope"], 3),
    **dict.fromkeys(["availability", "present", "walk_log"], 3),
    "walk": 4,
    **dict.fromkeys(["stream", "merge"], 5),
    "session": 6,
}
AROUND = {"accounts", "arrow", "atomic", "cluster", "files", "journal", "lines", "warehouse"}
"""The modules that stand around the core, and the packages."""
EXTRAS = {"cli", "report", "sandbox"}


def imports(path: Path) -> set[str]:
    """Return the modules of the package that a module imports, by their path below it."""
    here = path.relative_to(PACKAGE).parts[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = here[: len(here) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found |= {".".join((*above, *name.split("."))) for name in names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("itnio_voice"):
            found.add("the package root")
    return found


MODULES = {path.stem: path for path in PACKAGE.glob("*.py") if not path.stem.startswith("__")}
CORE = {name: imports(path) for name, path in MODULES.items() if name not in AROUND}


def test_every_module_has_its_floor() -> None:
    """The house has no room that is not drawn."""
    assert FLOORS.keys() == CORE.keys()


def test_the_house_is_drawn() -> None:
    """The documentation draws it as it is: each module on its floor, and what stands around the core."""
    drawn = (PACKAGE.parent / "docs" / "house.md").read_text()
    floors = {name: int(floor) for floor, name in re.findall(r"^([1-6])  (\w+) ", drawn, re.MULTILINE)}

    assert FLOORS == floors
    assert AROUND | EXTRAS <= set(re.findall(r"^(\w+)/? ", drawn, re.MULTILINE))


def test_imports_point_down() -> None:
    """No module imports one of a higher floor, an extra, or the package root."""
    up = {(name, other) for name, others in CORE.items() for other in others if FLOORS.get(other, 99) > FLOORS[name]}

    assert set() == up


def test_imports_have_no_cycle() -> None:
    """Nor is there a cycle on one floor."""
    assert set(FLOORS) == set(TopologicalSorter(CORE).static_order())


def test_extras_import_modules_not_the_root() -> None:
    """What stands around the core imports its modules."""
    around = [path for extra in EXTRAS for path in (PACKAGE / extra).rglob("*.py")]
    around += [MODULES[name] for name in AROUND]

    assert EXTRAS | AROUND <= {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in around}
    assert [] == [path for path in around if "the package root" in imports(path)]


def test_importing_the_core_imports_no_extra() -> None:
    """`import itnio_voice` needs nothing but the core's own dependencies."""
    script = "import sys, json, itnio_voice; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"

    def loaded_by(modules: str) -> set[str]:
        command = [sys.executable, "-c", script.replace("itnio_voice", modules)]
        return set(json.loads(subprocess.check_output(command, text=True)))  # noqa: S603

    # httpx itself imports rich, if it is there, for its own command line.
    ours = loaded_by("itnio_voice") - loaded_by("httpx")

    others = {"altair", "cyclopts", "dask", "dlt", "duckdb", "httpx2", "pyarrow", "pytest", "rich", "sqlite3"}

    assert not {*others, "starlette", "uvicorn"} & ours
    assert "starlette" in loaded_by("itnio_voice.sandbox")


def test_public_names() -> None:
    """`__all__` is sorted, complete, and has every error."""
    names = itnio_voice.__all__
    errors = {
        name
        for name, value in vars(itnio_voice.errors).items()
        if isinstance(value, type) and issubclass(value, itnio_voice.ItnioError)
    }
    rooms = {name for name in {*FLOORS, *AROUND, *EXTRAS} if isinstance(vars(itnio_voice).get(name), ModuleType)}
    public = {name for name in vars(itnio_voice) if not name.startswith("_")} - rooms

    assert sorted(names) == names
    assert errors <= set(names)
    assert public == set(names)


def test_modules_are_small_and_say_their_job() -> None:
    """Each module's first line is its job, and none is past 400 lines."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert text.startswith('"""'), path
        assert text.count("\n") <= 400, path
