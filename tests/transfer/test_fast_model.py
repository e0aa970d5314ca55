"""Opening a fast model for a run: its own styles, or those of the run; what does not fit is one line."""

from pathlib import Path

import numpy as np
import pytest

import msst_jax
from msst_jax.errors import UserError
from msst_jax.transfer.fast_model import open_model
from tests.helpers.feedforward import earlier_model
from tests.helpers.pictures import noise, save


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return {name: save(tmp_path / f"{name}.png", noise(40, 30, seed)) for seed, name in enumerate("ab")}


def table_of(any_model: Path, stroke_size: float = 1.0, **styles: str) -> np.ndarray:
    model = open_model(str(any_model), styles, np.float32, stroke_size=stroke_size)
    assert model.regions == (*styles,)
    assert model.styles == (*styles.values(),)
    return np.asarray(model.network.table[...])


def test_a_model_with_styles_of_its_own_is_opened_as_it_is(model: Path):
    opened = open_model(str(model), {}, np.float32)
    assert (opened.regions, opened.styles) == (("person", "background"), ("a.png", "b.png"))


def test_paintings_are_mixed_by_their_weights_and_strokes_have_a_size(any_model: Path, files: dict[str, str]):
    plain, mixed, swapped = (
        table_of(any_model, background=text)[0]
        for text in (files["a"], f"{files['a']}:3,{files['b']}:1", f"{files['b']},{files['a']}:3")
    )
    np.testing.assert_allclose(mixed, swapped, rtol=0, atol=1e-5)
    assert np.abs(mixed - plain).max() > 0.01
    assert np.abs(table_of(any_model, 0.5, background=files["a"])[0] - plain).max() > 0.01


@pytest.mark.parametrize("size", [(24, 20), (300, 200)])
def test_a_painting_of_any_size_gives_python_and_the_command_line_one_style(
    any_model: Path, tmp_path: Path, size: tuple[int, int]
):
    painting = save(tmp_path / "painting.png", noise(*size, 7))
    from_python = msst_jax.load_stylizer(any_model, {"background": painting})._model.network.table[...]
    np.testing.assert_allclose(from_python, table_of(any_model, background=painting), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "styles", "message"),
    [
        ("fixed", {"person": "a.png"}, r"^--style person: .* has its own styles; leave one of the two out$"),
        ("any", {}, r"^.* needs --style background=FILE, and one for each other region; found none$"),
        ("any", {"person": "a.png"}, r"^.* needs --style background=FILE, .*; found person$"),
        ("any", {"background": "keep"}, r"^--style background=keep needs the optimization; give a painting, or omit "),
        ("any", {"background": "nowhere.png"}, r"^style nowhere.png does not exist"),
        ("any", {"background": "a.png:-1"}, r"^the weight of --style background a.png is -1.0"),
        ("earlier", {}, r"^--model .* is of an earlier version, .*; train again, in minutes with --config.start=any$"),
        ("nowhere", {}, r"^--model nowhere: .* does not exist; give a --workdir .* or starry_wheat; "),
    ],
)
def test_what_does_not_fit_is_one_line(
    model: Path,
    any_model: Path,
    files: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    styles: dict[str, str],
    message: str,
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "earlier").mkdir()
    places = {"fixed": model, "any": any_model, "earlier": earlier_model(tmp_path / "earlier")}
    with pytest.raises(UserError, match=message) as caught:
        open_model(str(places.get(name, name)), styles, np.float32)
    assert "\n" not in str(caught.value)
