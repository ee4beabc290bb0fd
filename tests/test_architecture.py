"""The layers of the package: imports point down, the core works without extras, and modules stay small."""

import ast
import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import itnio_voice
from itnio_voice._model import errors

PACKAGE = Path(itnio_voice.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"
LAYERS = {"cli": 6, "outputs": 5, "_client": 4, "_walk": 3, "_files": 3, "_http": 2, "_wire": 2, "_model": 1}
"""The package's folders and their heights. A layer imports those below it; `_walk` does not import `_http`."""
ALONE = {
    "sandbox": {"_extras", "_model"},
    "_extras": set[str](),
    "opentelemetry": {"_client", "_model", "_extras"},
    "__main__": {"cli", "_extras"},
}
"""The modules beside the layers, and what they may import from the package."""
ALSO = {"cli": {"sandbox", "_extras"}, "outputs": {"_extras"}}
"""What a layer may import beside the layers below it."""
NEVER = {("_walk", "_http")}
MOST_ENTRIES, MOST_LINES = 13, 400


def modules() -> dict[str, Path]:
    """Return the modules by name, such as `_walk.walk`; the root's is the empty string."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[str]:
    """Yield the modules of the package that a module imports, by their names below the package."""
    path = MODULES[name]
    package = name.split(".") if path.name == "__init__.py" and name else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = package[: len(package) - node.level + 1]
            base = ".".join([*above, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                module = f"{base}.{alias.name}".strip(".")
                yield module if module in MODULES else base
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("itnio_voice"):
            yield ""


GRAPH = {name: set(imports(name)) for name in MODULES}


def folder(module: str) -> str:
    """Return the folder of a module below the package, or the module itself if it lies beside the folders."""
    return module.partition(".")[0]


def may_import(one: str, other: str) -> bool:
    """Return whether a folder may import another one."""
    if one in LAYERS and other in LAYERS:
        return LAYERS[one] > LAYERS[other] and (one, other) not in NEVER
    return other in ALONE.get(one, set()) | ALSO.get(one, set())


def test_every_folder_is_a_layer_or_stands_alone() -> None:
    """Every folder of the package is in the table."""
    assert {*LAYERS, *ALONE, ""} == set(map(folder, MODULES))


def test_imports_point_down() -> None:
    """No folder imports one above or beside it, nor the package root."""
    arrows = {(folder(name), folder(other), name) for name in GRAPH if name for other in GRAPH[name]}

    assert set() == {arrow for arrow in arrows if arrow[0] != arrow[1] and not may_import(*arrow[:2])}


def test_imports_have_no_cycle() -> None:
    """There is no cycle within a folder either."""
    parts = {name: {other for other in others if not name.startswith(f"{other}.")} for name, others in GRAPH.items()}

    assert set(MODULES) == set(TopologicalSorter(parts).static_order())


def described() -> str:
    """Return the list of folders and modules as the page *Architecture* shows it: the first line of each module."""
    lines: list[str] = []
    tops = sorted({folder(name) for name in MODULES if name}, key=lambda top: (-LAYERS.get(top, 0), top))
    for top in tops:
        names = sorted(name for name in MODULES if folder(name) == top)
        for name in names:
            depth, is_folder = name.count("."), MODULES[name].name == "__init__.py"
            label = "  " * depth + name.rpartition(".")[2] + "/" * is_folder
            job = MODULES[name].read_text().splitlines()[0].strip('"').replace("`", "")
            lines.append(f"{label:22} {job}".rstrip())
    return "```text\n" + "\n".join(lines) + "\n```"


def test_the_documentation_lists_every_module() -> None:
    """After a change, `python -m tests.test_architecture` writes the list."""
    assert described() in PAGE.read_text()


def test_the_core_imports_no_extra() -> None:
    """`import itnio_voice` needs only the core's own dependencies."""
    script = "import sys, json, itnio_voice; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"

    def loaded_by(names: str) -> set[str]:
        command = [sys.executable, "-c", script.replace("itnio_voice", names)]
        return set(json.loads(subprocess.check_output(command, text=True)))  # noqa: S603

    ours = loaded_by("itnio_voice")
    # The first session imports these: they take longer than everything else.
    assert not {"httpcore2", "httpx", "ssl", "trio"} & ours

    others = {
        "altair",
        "cyclopts",
        "dask",
        "dlt",
        "duckdb",
        "httpx2",
        "opentelemetry",
        "pyarrow",
        "pydantic",
        "pydantic_core",
        "pytest",
        "rich",
        "sqlite3",
    }

    assert not {*others, "starlette", "uvicorn"} & ours
    assert "starlette" in loaded_by("itnio_voice.sandbox")


def test_public_names_are_sorted_and_complete() -> None:
    """`__all__` of the root is sorted and complete, and has every error."""
    names = itnio_voice.__all__
    public = {name for name in vars(itnio_voice) if not name.startswith("_") and name not in {*LAYERS, *ALONE}}

    assert sorted(names) == names
    assert set(errors.__all__) <= set(names)
    assert public | {"__version__"} == set(names)


def test_public_classes_name_the_root_as_their_module() -> None:
    """Tracebacks, pickles and documentation show them as users import them."""
    for name in itnio_voice.__all__:
        value = getattr(itnio_voice, name)
        if isinstance(value, type) or callable(value):
            assert "itnio_voice" == value.__module__, name


def test_no_name_hides_a_module() -> None:
    """Each module can be imported by its name, because no function or class at its place has the same name."""
    for name in MODULES:
        parent, _, last = name.rpartition(".")
        package = importlib.import_module(f"itnio_voice.{parent}".rstrip("."))
        if name and name != "__main__" and f"itnio_voice.{name}" in sys.modules:
            assert sys.modules[f"itnio_voice.{name}"] is getattr(package, last), name


def test_folders_and_modules_are_small_and_say_their_job() -> None:
    """A folder has few entries. A module starts with a sentence about its job, and has few lines."""
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert text.startswith('"""'), path
        assert text.count("\n") <= MOST_LINES, path
        entries = [entry for entry in path.parent.iterdir() if not entry.name.startswith("__")]
        assert len(entries) <= MOST_ENTRIES, path.parent


if __name__ == "__main__":
    before, _, rest = PAGE.read_text().partition("<!-- modules -->\n")
    after = rest.partition("<!-- end of modules -->")[2]
    PAGE.write_text(f"{before}<!-- modules -->\n{described()}\n<!-- end of modules -->{after}")
