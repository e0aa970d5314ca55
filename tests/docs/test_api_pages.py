"""The API pages have every public name, and show modules that are there; Sphinx does the rest in .ci/run."""

import importlib
import re

import msst_jax
from tests.docs.markdown import DOCS, ROOT

API = ROOT / "docs" / "api"
PAGES = "".join(page.read_text(encoding="utf-8") for page in sorted(API.glob("*.rst")))


def test_every_public_name_has_a_place_on_the_page_of_the_package():
    page = (API / "msst_jax.rst").read_text(encoding="utf-8")
    shown = set(re.findall(r"^\.\. auto(?:function|class|exception):: (\w+)(?:\(\))?$", page, re.MULTILINE))
    assert shown == set(msst_jax.__all__)


def test_every_module_that_the_api_pages_show_exists():
    modules = re.findall(r"^\.\. automodule:: (\S+)$", PAGES, re.MULTILINE)
    assert len(modules) == len(set(modules)) > 10
    for name in modules:
        assert importlib.import_module(name).__doc__


def test_every_page_is_in_the_contents_of_the_site():
    index = (ROOT / "docs" / "index.rst").read_text(encoding="utf-8")
    entries = {line.strip() for line in index.splitlines()}
    assert {page.stem for page in DOCS} | {"api/index", "notebooks/index"} <= entries
    contents = {line.strip() for line in (API / "index.rst").read_text(encoding="utf-8").splitlines()}
    assert {page.stem for page in API.glob("*.rst")} - {"index"} <= contents


def test_the_site_is_built_by_ci_with_warnings_as_errors():
    command = "sphinx-build -W --keep-going -q docs docs/_build/html"
    assert f".venv/bin/{command}" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert command in (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
