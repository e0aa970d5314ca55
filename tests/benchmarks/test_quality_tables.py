"""The tables and matrices of python -m benchmarks.quality: what they say in numbers, in words and in colors."""

import math
from pathlib import Path

import numpy as np

from benchmarks.quality import drawings, scores, tables
from benchmarks.quality.comparison import Comparison
from benchmarks.quality.pairs import Pair
from benchmarks.quality.pictures import Finished
from benchmarks.quality.scores import Scores


def test_heat_map_is_darkest_where_the_distance_is_largest_and_shows_what_is_unknown() -> None:
    page = np.asarray(drawings.heat_map(np.array([[0.0, 2.0], [math.nan, 1.0]]), ["a", "b"], 2.0)).sum(-1)
    corner = drawings.CELL // 8  # inside of a field, beside its number
    fields = [
        [
            page[30 + row * drawings.CELL + corner, drawings.MARGIN + column * drawings.CELL + corner]
            for column in (0, 1)
        ]
        for row in (0, 1)
    ]
    assert fields[0][0] == fields[1][0] == 3 * 255
    assert fields[0][1] < fields[1][1] < fields[0][0]


def test_matrix_is_diagonal_if_no_region_is_nearer_to_the_painting_of_another() -> None:
    assert scores.is_diagonal(np.array([[1.0, 2.0], [5.0, 4.0]]))
    assert scores.is_diagonal(np.array([[1.0, 1.0], [5.0, 4.0]]))
    assert not scores.is_diagonal(np.array([[1.0, 2.0], [3.0, 4.0]]))
    unknown = [math.nan, math.nan]
    assert scores.is_diagonal(np.array([[1.0, 2.0], unknown]))
    assert not scores.is_diagonal(np.array([[2.0, 1.0], unknown]))
    assert not scores.is_diagonal(np.array([unknown, unknown]))


def test_own_and_other_distances_are_means_on_and_off_the_diagonal() -> None:
    matrix = np.array([[1.0, 10.0, 20.0], [30.0, 2.0, 40.0], [50.0, 60.0, 6.0]])
    assert scores.own_distance(matrix) == 3
    assert scores.other_distance(matrix) == 35
    assert math.isnan(scores.other_distance(np.ones((1, 1))))


def test_regions_that_differ_between_photos_are_named_by_their_place() -> None:
    assert tables.region_names([["dog", "background"], ["cat", "background"]]) == ["region 1", "background"]


def comparison_of(paintings: dict[str, str], gram: dict[str, float]) -> Comparison:
    """One entrant, with Gram distances {name of the pair: value}, on pairs {name: painting}."""
    pairs = [Pair(name, Path("photo"), {}, {"background": Path(file)}) for name, file in paintings.items()]
    measured = {name: Scores(np.full((1, 1), value), np.ones((1, 1)), 0.5, math.nan, 1) for name, value in gram.items()}
    return Comparison(pairs, 64, (), {"ours": {name: Finished(Path("x")) for name in gram}}, {"ours": measured})


def test_averages_of_each_painting_are_told_when_several_photos_share_it() -> None:
    paintings = {"a1": "a.jpg", "b1": "b.jpg", "a2": "a.jpg", "b2": "b.jpg"}
    rows = tables.paintings_table(comparison_of(paintings, {"a1": 0.25, "a2": 0.75, "b1": 2, "b2": 3})).splitlines()
    assert rows[0] == (
        "| pictures | Gram distance: a | content: a | LPIPS: a | Gram distance: b | content: b | LPIPS: b |"
    )
    assert rows[2] == "| ours | 0.500 | 0.500 | - | 2.500 | 0.500 | - |"


def test_averages_of_each_painting_are_left_out_for_a_single_one_or_single_photos() -> None:
    assert tables.paintings_table(comparison_of({"a1": "a.jpg", "a2": "a.jpg"}, {"a1": 1, "a2": 2})) == ""
    assert tables.paintings_table(comparison_of({"a1": "a.jpg", "b1": "b.jpg"}, {"a1": 1, "b1": 2})) == ""
