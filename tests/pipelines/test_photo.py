"""A photo stylized by optimization: the runs of a comparison, and the exit code."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from msst_jax.pipelines import photo
from msst_jax.pipelines.job import EXIT_NOTHING_BETTER
from msst_jax.runtime.interrupt import EXIT_INTERRUPTED
from msst_jax.transfer.build import build_options
from msst_jax.transfer.optimization import StylizationResult
from tests.helpers.pictures import quick_config


def test_the_comparison_runs_drop_the_terms_of_their_captions():
    options = build_options(quick_config())
    job = photo.PhotoJob("p", {}, {}, Path("o.png"), [0.1, 0.3], compare=True)
    first, last, naive, without_tv = photo._runs(options, job)
    assert first == options.weights(0.1)
    assert last == options.weights(0.3)
    assert naive == last._replace(blend=0.0, tv=0.0)
    assert without_tv == last._replace(tv=0.0)
    assert last.tv > 0


@pytest.mark.parametrize(
    ("interrupted", "improved", "code"),
    [
        (False, [True], 0),
        (False, [False], EXIT_NOTHING_BETTER),
        (True, [True], EXIT_INTERRUPTED),
        (True, [False], EXIT_INTERRUPTED),
    ],
)
def test_an_interrupted_run_ends_as_one_even_if_it_found_nothing_better_yet(interrupted: bool, improved, code: int):
    values = dict.fromkeys(StylizationResult._fields)
    values.update(interrupted=interrupted, improved=np.array(improved), finite=np.array([True]), evaluations=[1])
    job = photo.PhotoJob("p", {}, {}, Path("o.png"), [0.1])
    assert photo._exit_code(job, StylizationResult(**values)) == code


@pytest.mark.parametrize(
    ("interrupted", "improved", "said"),
    [
        (True, [True, True], ["interrupted after 4 evaluations: wrote the best picture so far"]),
        (
            True,
            [True, False],
            [
                "interrupted after 4 evaluations: wrote the best picture so far",
                "blend 0.3: nothing better than the start was found",
            ],
        ),
        (
            True,
            [False, False],
            ["interrupted after 4 evaluations: wrote the picture so far; nothing better than the start was found yet"],
        ),
        (False, [False, True], ["blend 0.1: nothing better than the start was found"]),
    ],
)
def test_what_is_said_of_the_end_of_a_run_does_not_contradict_itself(
    interrupted: bool, improved: list[bool], said: list[str], caplog: pytest.LogCaptureFixture
):
    values = dict.fromkeys(StylizationResult._fields)
    values.update(interrupted=interrupted, improved=np.array(improved), finite=np.array([True] * 2), evaluations=[1, 3])
    job = photo.PhotoJob("p", {}, {}, Path("o.png"), [0.1, 0.3])
    photo._exit_code(job, StylizationResult(**values))
    assert [record.getMessage() for record in caplog.records] == said


@pytest.mark.parametrize(("tiles", "recorded"), [((1, 1), None), ((1, 6), [1, 6])])
def test_tiles_are_recorded_where_there_are_some_so_that_a_run_can_be_repeated(
    tiles: tuple[int, ...], recorded: list[int] | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(photo, "build_sidecar", lambda **content: content)
    values = {**dict.fromkeys(StylizationResult._fields), "tiles": tiles}
    job, inputs = photo.PhotoJob("p", {}, {}, Path("o.png"), [0.1]), SimpleNamespace(segmenter=None)
    content = photo.photo_sidecar(quick_config(), job, inputs, Path("w"), StylizationResult(**values), 0.0)
    assert content.get("tiles") == recorded
