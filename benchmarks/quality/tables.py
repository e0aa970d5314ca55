"""A comparison as Markdown and as JSON."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.harness.averages import mean_known, mean_of_known
from benchmarks.harness.results import gigabytes, seconds
from benchmarks.quality.comparison import Comparison
from benchmarks.quality.scores import Scores, mean_scores
from msst_jax.report.sidecar import environment

MATRICES = ("gram", "palette")
COLUMNS = (
    "pictures",
    "Gram distance: own",
    "others'",
    "diagonal",
    "palette: own",
    "others'",
    "diagonal",
    "content",
    "LPIPS",
    "edges",
    "s",
    "GB",
)

MAX_PAINTINGS = 6  # of a set whose averages are told for each: of more the table would be too wide
PAINTING_COLUMNS = {"Gram distance": "gram_own", "content": "content", "LPIPS": "lpips"}


def averages(comparison: Comparison) -> dict[str, dict[str, Any]]:
    """{entrant: its averages over the common pairs}."""
    names = [pair.name for pair in comparison.common]
    rows = {}
    for entrant, pictures in comparison.pictures.items():
        entries = [pictures[name] for name in names]
        rows[entrant] = {
            "pairs": len(names),
            **mean_scores([comparison.scores[entrant][name] for name in names]),
            "seconds": _mean([entry.seconds for entry in entries]),
            "memory_gb": _mean([entry.memory_gb for entry in entries]),
        }
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    mean = mean_known(math.nan if value is None else value for value in values)
    return None if math.isnan(mean) else mean


def summary(comparison: Comparison) -> str:
    """The averages as Markdown: a row for each entrant."""
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for entrant, row in averages(comparison).items():
        cells = [entrant]
        for name in MATRICES:
            own, other = (_digits(row[f"{name}_{which}"], name) for which in ("own", "other"))
            cells += [own, other, f"{row[f'{name}_diagonal']} of {row['pairs']}"]
        cells += [_digits(row[name]) for name in ("content", "lpips", "edges")]
        lines.append(_line([*cells, seconds(row["seconds"]), gigabytes(row["memory_gb"])]))
    return "\n".join(lines)


def matrices(comparison: Comparison) -> list[tuple[str, list[str], dict[str, np.ndarray]]]:
    """The mean matrices over the common pairs: (entrant, names of the regions, {"gram": (K, K), "palette": (K, K)}).

    Pairs with another number of regions are averaged apart.
    """
    found = []
    for entrant, scores in comparison.scores.items():
        for count in sorted({len(pair.styles) for pair in comparison.common}):
            pairs = [pair for pair in comparison.common if len(pair.styles) == count]
            means = {
                name: mean_of_known(np.stack([getattr(scores[pair.name], name) for pair in pairs])) for name in MATRICES
            }
            found.append((entrant, region_names([list(pair.styles) for pair in pairs]), means))
    return found


def region_names(lists: Sequence[Sequence[str]]) -> list[str]:
    """A name for each place in lists of regions: that which all have there, else "region 1", ..."""
    places = [set(names) for names in zip(*lists, strict=True)]
    return [names.pop() if len(names) == 1 else f"region {index}" for index, names in enumerate(places, 1)]


def matrix_tables(comparison: Comparison) -> str:
    """The mean matrices as Markdown, a table for each number of regions."""
    tables: dict[int, list[str]] = {}
    for entrant, regions, means in matrices(comparison):
        lines = tables.setdefault(len(regions), [])
        if not lines:
            heads = [f"{title} {region}" for title in ("Gram: painting of", "palette:") for region in regions]
            lines += [_line(["pictures", "region", *heads]), _line(["---"] * (2 + len(heads)))]
        for index, region in enumerate(regions):
            cells = [_digits(value, name) for name in MATRICES for value in means[name][index]]
            lines.append(_line([entrant if index == 0 else "", region, *cells]))
    return "\n\n".join("\n".join(lines) for lines in tables.values())


def paintings_table(comparison: Comparison) -> str:
    """The averages for each painting as Markdown; "" unless there are several, and several photos of each."""
    groups: dict[str, list[str]] = {}
    for pair in comparison.common:
        groups.setdefault(", ".join(file.stem for file in pair.styles.values()), []).append(pair.name)
    if not 1 < len(groups) <= MAX_PAINTINGS or min(map(len, groups.values())) < 2:
        return ""
    heads = [f"{title}: {painting}" for painting in groups for title in PAINTING_COLUMNS]
    lines = [_line(["pictures", *heads]), _line(["---"] * (1 + len(heads)))]
    for entrant, scores in comparison.scores.items():
        means = [mean_scores([scores[name] for name in names]) for names in groups.values()]
        cells = [_digits(row[name], places=3) for row in means for name in PAINTING_COLUMNS.values()]
        lines.append(_line([entrant, *cells]))
    return "\n".join(lines)


def _digits(value: float, name: str = "", places: int = 2) -> str:
    places = 1 if name == "palette" else places
    return "-" if math.isnan(value) else f"{round(value, places) + 0.0:.{places}f}"  # no "-0.00"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def content(comparison: Comparison) -> dict[str, Any]:
    """The JSON of a comparison; NaN becomes null when it is written."""
    means = averages(comparison)
    return {
        "size": comparison.size,
        "layers": list(comparison.layers),
        **environment(),
        "pairs": [{"name": pair.name, "regions": list(pair.styles)} for pair in comparison.pairs],
        "averaged_over": [pair.name for pair in comparison.common],
        "notes": comparison.notes,
        "entrants": {
            entrant: {
                "mean": means[entrant],
                "pictures": {
                    name: {
                        **_plain(scores),
                        "seconds": comparison.pictures[entrant][name].seconds,
                        "memory_gb": comparison.pictures[entrant][name].memory_gb,
                    }
                    for name, scores in measured.items()
                },
            }
            for entrant, measured in comparison.scores.items()
        },
    }


def _plain(scores: Scores) -> dict[str, Any]:
    """Matrices as lists: rows are regions, columns paintings."""
    fields = scores._asdict().items()
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields}
