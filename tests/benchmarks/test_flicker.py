"""The benchmark of flicker: what it measures on frames whose motion is known, and how it refuses bad input."""

import math
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import flicker
from tests.helpers.clips import make_clip
from tests.helpers.pictures import noise

pytest.importorskip("cv2", reason="OpenCV is not installed: pip install '.[test]'")

HEIGHT, WIDTH, COUNT = 96, 128, 4
ALL = np.ones((HEIGHT, WIDTH), bool)

Capture = pytest.CaptureFixture[str]


def panned(count: int = COUNT, step: int = 3, seed: int = 0) -> list[np.ndarray]:
    """A camera that goes right over a picture."""
    picture = noise(HEIGHT, WIDTH + step * count, seed)
    return [picture[:, step * number : step * number + WIDTH] for number in range(count)]


def pan_flow(step: int = 3) -> np.ndarray:
    """The true flow of `panned`, backwards."""
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[..., 0] = step
    return flow


def inner(margin: int = 8) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[margin:-margin, margin:-margin] = True
    return mask


def flickering(frames: list[np.ndarray], levels: int, place: np.ndarray | None = None) -> list[np.ndarray]:
    """Every other frame is brighter by so many levels there."""
    dimmed = [(frame * 0.8).astype(np.uint8) for frame in frames]
    where = np.ones(frames[0].shape[:2], bool) if place is None else place
    return [frame + (levels * (number % 2) * where)[..., None].astype(np.uint8) for number, frame in enumerate(dimmed)]


def test_what_moves_with_the_flow_has_no_error():
    count = COUNT - 1
    assert flicker.warp_error(panned(), [pan_flow()] * count, [inner()] * count) == 0
    assert flicker.warp_error(panned(), [-pan_flow()] * count, [inner()] * count) > 0.01


def test_the_error_is_the_mean_square_over_channels_pixels_and_steps_in_the_range_of_0_to_1():
    frames = [np.full((10, 12, 3), 100, np.uint8) for _ in range(3)]
    frames[1][..., 0] += 51  # 0.2
    frames[2][:5, :, 0] += 51
    still, whole = np.zeros((10, 12, 2), np.float32), np.ones((10, 12), bool)
    error = flicker.warp_error(frames, [still] * 2, [whole] * 2)
    assert error == pytest.approx((0.04 / 3 + 0.04 / 6) / 2)
    upper = np.arange(10)[:, None].repeat(12, 1) < 5
    assert flicker.warp_error(frames, [still] * 2, [whole, upper]) == pytest.approx(0.04 / 3 / 2)


def test_steps_without_a_pixel_do_not_count():
    frames, still = flickering([noise(HEIGHT, WIDTH)] * 3, 30), np.zeros((HEIGHT, WIDTH, 2), np.float32)
    once = flicker.warp_error(frames, [still] * 2, [ALL, ~ALL])
    assert once == pytest.approx(flicker.warp_error(frames, [still] * 2, [ALL] * 2))
    assert math.isnan(flicker.warp_error(frames, [still] * 2, [~ALL] * 2))


def test_a_clip_and_flows_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="zip"):
        flicker.warp_error(panned(), [pan_flow()], [ALL])


def test_the_flow_points_from_the_next_frame_back():
    before, after = panned(2)
    flow, seen = flicker.step_between(before, after)
    np.testing.assert_allclose(np.median(flow[inner()], 0), (3, 0), atol=0.1)
    assert seen[inner(16)].mean() > 0.9


def test_what_came_over_the_border_is_not_seen_in_both():
    seen = flicker.seen_in_both(pan_flow(), -pan_flow())
    assert not seen[:, -3:].any()
    assert seen[:, :-3].all()


def test_what_was_hidden_is_not_seen_in_both():
    """Something moves right by 10 over a still ground; what it uncovers goes back to it, and from there elsewhere."""
    forward, backward = (np.zeros((HEIGHT, WIDTH, 2), np.float32) for _ in range(2))
    forward[30:60, 40:70] = (10, 0)
    backward[30:60, 50:80] = (-10, 0)
    seen = flicker.seen_in_both(backward, forward)
    assert not seen[32:58, 42:48].any()  # uncovered: still itself, but something moved away from there
    assert seen[34:56, 54:76].all()  # moved, and comes from where it says
    assert seen[:25].all()


def test_the_edge_of_what_moves_does_not_count():
    backward = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    backward[:, 64:] = (-4, 0)
    seen = flicker.seen_in_both(backward, -backward)
    assert not seen[:, 63:65].any()
    assert seen[:, :60].all()


def test_the_edges_are_where_two_versions_differ_and_a_little_more():
    one = noise(HEIGHT, WIDTH) // 2
    other = one.copy()
    other[40:50, 60:70, 1] += 20
    other[10:20, 10:20] += 5  # is not seen
    near = flicker.near_edges(one, other)
    assert near[39:51, 59:71].all()
    assert near.sum() == 12 * 12


def test_the_version_that_flickers_at_an_edge_has_the_larger_error_most_so_near_it():
    place = np.zeros((HEIGHT, WIDTH), bool)
    place[30:60, 50:60] = True
    clip = panned()
    errors = flicker.clip_errors(clip, {"smooth": flickering(clip, 0), "rough": flickering(clip, 40, place)})
    smooth, rough, _ = errors.values()
    assert list(errors) == ["smooth", "rough", flicker.INPUT]
    assert rough.everywhere > 2 * smooth.everywhere
    assert rough.edges > 5 * rough.everywhere
    assert smooth.edges < rough.edges / 5


def test_versions_that_are_the_same_have_no_edges():
    errors = flicker.clip_errors(panned(), {"one": panned(), "other": panned()})
    assert all(math.isnan(error.edges) for error in errors.values())
    table = flicker.rows("c", errors)
    assert all(line.endswith("(1.000) | - (-) |") for line in table)


def test_streamed_errors_are_those_of_the_whole_clip():
    clip, rough = panned(), flickering(panned(), 40)
    steps = [flicker.step_between(*pair) for pair in pairwise(clip)]
    wanted = flicker.warp_error(rough, [step.flow for step in steps], [step.seen for step in steps])
    errors = flicker.clip_errors(iter(clip), {"smooth": iter(clip), "rough": iter(rough)})
    assert errors["rough"].everywhere == wanted


@pytest.fixture
def painted(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The command lines of stylize.py, which is not run: its output is the input, flickering without smoothing."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        output = Path(command[command.index("-o") + 1])
        output.mkdir()
        levels = 10 * (1 + sum("smoothing=0" in argument for argument in command))
        frames = list(flicker.frames_of(Path(command[2])))
        for number, frame in enumerate(flickering(frames, levels), 1):
            flicker.Image.fromarray(frame).save(output / f"{number:06}.png")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(flicker.subprocess, "run", run)
    return commands


def test_every_version_of_a_clip_is_painted_and_the_table_printed(
    tmp_path: Path, painted: list[list[str]], capsys: Capture
):
    clip = make_clip(tmp_path / "pan.mp4", panned(5))
    assert flicker.main([str(clip), "--frames", "3", "--size", "64"]) == 0
    assert [command[1:2] + command[3:5] for command in painted] == [[str(flicker.SCRIPT), "--rate", "25"]] * 3
    assert [command[11:] for command in painted] == list(map(list, flicker.VERSIONS.values()))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[1] for line in lines[2:6]] == [*flicker.VERSIONS, flicker.INPUT]
    cells = [line.split(" | ")[2].strip(")").split(" (") for line in lines[2:6]]
    errors, ratios = ([float(cell[index]) for cell in cells] for index in (0, 1))
    assert errors[0] < errors[1] < errors[2]
    assert ratios == pytest.approx([error / errors[2] for error in errors], abs=1e-3)
    assert lines[-1].startswith("the first 3 frames, at most 64 pixels long, model builtin; lower is steadier")


def test_a_small_clip_is_not_enlarged(tmp_path: Path):
    clip = make_clip(tmp_path / "pan.mp4", panned(2))
    assert flicker.save_frames(clip, tmp_path / "frames", 512, None) == "25"
    assert [frame.shape for frame in flicker.frames_of(tmp_path / "frames")] == [(HEIGHT, WIDTH, 3)] * 2


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "the following arguments are required: CLIP; see python -m benchmarks.flicker --help"),
        (["nowhere.mp4"], "video nowhere.mp4 does not exist"),
        (["nowhere.mp4", "--frames", "1"], "argument --frames: '1' is no whole number from 2 up"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], reason: str, capsys: Capture):
    assert flicker.main(arguments) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"benchmarks\.flicker: [^\n]*\n", error)
    assert reason in error


def test_a_clip_of_one_frame_is_refused(tmp_path: Path, capsys: Capture):
    assert flicker.main([str(make_clip(tmp_path / "one.mp4", panned(1)))]) == 2
    assert "one.mp4 has 1 frame(s); give one with two at least" in capsys.readouterr().err


def test_what_stylize_says_when_it_fails_is_passed_on(tmp_path: Path, capsys: Capture):
    clip = make_clip(tmp_path / "pan.mp4", panned(2))
    assert flicker.main([str(clip), "--model", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"benchmarks\.flicker: stylize\.py failed with 2: [^\n]*none[^\n]*\n", error)


def test_without_opencv_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert flicker.main(["clip.mp4"]) == 2
    assert "cv2 cannot be imported" in (error := capsys.readouterr().err)
    assert "run pip install '.[test]'" in error
