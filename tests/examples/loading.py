"""The documentation's examples as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).parent.parent.parent / "docs" / "examples"


def load(name: str) -> ModuleType:
    """Return an example as a new module. The files beside it are importable, as they are when it is run."""
    if str(EXAMPLES) not in sys.path:
        sys.path.append(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def live_calls() -> ModuleType:
    """Return the module that the web app imports."""
    load("web_app")
    return sys.modules["live_calls"]
