"""A photo stylized by optimization: the runs of a comparison."""

from pathlib import Path

from msst_jax.pipelines import photo
from msst_jax.transfer.build import build_options
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
