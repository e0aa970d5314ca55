"""The results as Markdown: a table for every part, and below it what steps printed or why they failed."""

from collections.abc import Mapping, Sequence
from typing import Any


def markdown(results: Sequence[Mapping[str, Any]]) -> str:
    """All parts, in the order of their first results.

    Args:
      results: of steps: "part", "step", "seconds", "row" (figures by name, or None), "text" and "error".
    """
    names = dict.fromkeys(result["part"] for result in results)
    return "\n\n".join(_part(name, [result for result in results if result["part"] == name]) for name in names) + "\n"


def _part(name: str, results: Sequence[Mapping[str, Any]]) -> str:
    rows = {result["step"]: result["row"] for result in results if result["row"]}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"## {name}"]
    if rows:
        table = [["step", *columns], ["---"] * (len(columns) + 1)]
        table += [[step, *(_cell(row.get(column)) for column in columns)] for step, row in rows.items()]
        lines.append("\n".join(f"| {' | '.join(line)} |" for line in table))
    for result in results:
        if not (result["row"] or result["text"] or result["error"]):
            lines.append(f"{result['step']}: {result['seconds']:.1f} s")
        if result["text"]:
            lines.append(f"{result['step']}:\n\n{result['text']}")
        if result["error"]:
            lines.append(f"**{result['step']}** failed: {result['error']}")
    return "\n\n".join(lines)


def _cell(value: Any) -> str:
    """A figure in four digits; versions and the like as they are."""
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(each)}" for name, each in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
