"""Sphinx's configuration."""

import inspect
import re
import tomllib
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import attrs
from docutils import nodes
from sphinx.util.inspect import stringify_signature

import itnio_voice

project = "itnio_voice"
author = "The itnio_voice maintainers"
copyright = "2026, The itnio_voice maintainers"
release = version = version_of("itnio-voice")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore = [
    ("py:class", name)
    for name in ("itnio_voice._model.records.R", "itnio_voice._client.merging.K", "itnio_voice._client.merging.T")
]
myst_heading_anchors = 3
html_theme = "furo"
html_title = "itnio_voice"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100

# Not by way of inventories: httpx has none, and the documentation is built without network.
_LINKS: dict[str, str] = {
    name: table["base"] + place
    for table in tomllib.loads((Path(__file__).parent / "links.toml").read_text()).values()
    for name, place in table["names"].items()
}


def _link(app: Any, env: Any, node: Any, shown: Any) -> Any:
    """Link a name of other people's documentation, or one of ours by the module that it is made in."""
    target = node["reftarget"]
    name = target.rpartition(".")[2]
    if target.startswith("itnio_voice.") and name in itnio_voice.__all__:
        domain = env.get_domain("py")
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", f"itnio_voice.{name}", node, shown)
    place = _LINKS.get(target)
    return nodes.reference("", "", shown, internal=False, refuri=place) if place else None


def _mark(match: re.Match[str]) -> str:
    """Turn a name in a docstring into a link where it leads somewhere, and into code where it does not."""
    name = match[1]
    if name in itnio_voice.__all__:
        return f":py:obj:`~itnio_voice.{name}`"
    return f":py:obj:`{name}`" if name in _LINKS and name != "None" else f"``{name}``"


def _docstring(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    """Mark what stands between backticks."""
    lines[:] = re.sub(r"(?<![`:\w])`([^`]+)`(?!`)", _mark, "\n".join(lines)).split("\n")


class _Default:
    """The default value of an attrs field, as a reader would write it."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return "..." if isinstance(self._value, attrs.Factory) else repr(self._value)  # type: ignore[arg-type] # a class


def _signature(_app: Any, what: str, _name: str, obj: Any, _options: Any, shown: str, returned: str) -> Any:
    """Return the signature of an attrs class with its defaults, which are expressions in the generated `__init__`."""
    if what not in {"class", "exception"} or not attrs.has(obj) or shown in {None, "()"}:
        return shown, returned
    signature = inspect.signature(obj)
    defaults = {field.alias: _Default(field.default) for field in attrs.fields(obj)}
    parameters = [
        parameter if parameter.default is parameter.empty else parameter.replace(default=defaults[parameter.name])
        for parameter in signature.parameters.values()
    ]
    plain = signature.replace(parameters=parameters, return_annotation=signature.empty)
    return stringify_signature(plain, unqualified_typehints=True), returned


def setup(app: Any) -> None:
    """Add the links, and readable signatures."""
    app.connect("autodoc-process-signature", _signature)
    app.connect("missing-reference", _link)
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before the sections are read
