"""The Markdown pages of the project, and what the tests read from them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = tuple(sorted((ROOT / "docs").glob("*.md")))
OTHERS = ("CONTRIBUTING.md", "CHANGELOG.md", "examples/README.md", "msst_jax/assets/README.md")
PAGES = (README, *DOCS, *(ROOT / name for name in OTHERS))

_FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(`+).*?\1", re.DOTALL)


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def block(page: Path, mark: str) -> str:
    """The fenced block that follows a line <!-- mark -->."""
    pattern = rf"^<!-- {re.escape(mark)} -->\n```\w+\n(.*?)^```$"
    match = re.search(pattern, page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert match, f"{page_name(page)} has no block marked {mark!r}"
    return match.group(1)


def without_code(text: str) -> str:
    """A page without its fenced blocks and code spans."""
    return _CODE.sub("", _FENCED.sub("", text))


def code_spans(text: str) -> list[str]:
    """The contents of the code spans outside of fenced blocks; line breaks in them are spaces."""
    return [" ".join(match.group().strip("`").split()) for match in _CODE.finditer(_FENCED.sub("", text))]


def links(text: str) -> list[str]:
    """The targets of links and images in the prose of a page, as they are written."""
    return re.findall(r"\]\(([^()\s]+)\)", without_code(text))


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} +(.+?)\s*$", _FENCED.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return found


def table_rows(text: str) -> list[list[str]]:
    """The cells of all lines that belong to a table; code spans keep their backticks."""
    lines = (line for line in text.splitlines() if line.startswith("| ") and line.endswith(" |"))
    return [[cell.strip() for cell in line[1:-1].split(" | ")] for line in lines]
