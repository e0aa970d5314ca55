"""Sphinx: these pages, the notebooks, and the API pages from the docstrings; docs/development.md says how to build."""

import sys
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import msst_jax

sys.path.append(str(Path(__file__).parent))  # of the extension beside this file

project = "msst_jax"
author = "The msst_jax authors"
copyright = "The msst_jax authors, MIT"
release = msst_jax.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "repository_links",
]
exclude_patterns = ["_build"]  # what only the site needs is reStructuredText; Markdown is read on a code host, too
html_theme = "furo"
html_title = f"msst_jax {release}"

nb_execution_mode = "off"  # a slow test executes the notebooks; here their stored outputs are shown
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4  # as on a code host: [text](page.md#heading)

default_role = "py:obj"  # `name` in a docstring
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # "Attributes:" as a list, since the fields of a NamedTuple are members already
autodoc_member_order = "bysource"
autodoc_typehints = "description"  # a picture alone can be of six types
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True


def keep_first_colon(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Napoleon takes what stands before the first colon of an attribute's docstring for its type; here it never is.

    A field of a NamedTuple without a docstring has none.
    """
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()
    elif what in ("attribute", "data"):
        lines[:0] = ["..", ""]  # an empty comment


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", keep_first_colon, priority=400)  # Napoleon has 500
