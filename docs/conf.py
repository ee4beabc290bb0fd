"""Sphinx's configuration."""

from importlib.metadata import version as version_of

project = "itnio_voice"
author = "The itnio_voice maintainers"
copyright = "2026, The itnio_voice maintainers"
release = version = version_of("itnio-voice")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_heading_anchors = 2
html_theme = "furo"
html_title = "itnio_voice"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
