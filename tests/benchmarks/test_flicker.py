"""benchmarks.quality.flicker: warping error and visibility on known motion, the printed table, bad input."""

import math
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import flicker
from tests.helpers.pictures import noise, save
from tests.helpers.videos import make_video

pytest.importorskip("cv2", reason="OpenCV is not installed: pip install '.[test]'")

HEIGHT, WIDTH, COUNT = 96, 128, 4
ALL = np.ones((HEIGHT, WIDTH), bool)

Capture = pytest.CaptureFixture[str]


def panned(count: int = COUNT, step: int = 3, seed: int = 0) -> list[np.ndarray]:
    """Frames of a camera that pans right over an image."""
    image = noise(HEIGHT, WIDTH + step * count, seed)
    return [image[:, step * index : step * index + WIDTH] for index in range(count)]


def pan_flow(step: int = 3) -> np.ndarray:
    """The true backward flow of `panned`."""
    flow = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    flow[..., 0] = step
    return flow


def inner(margin: int = 8) -> np.ndarray:
    """All pixels but the border."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[margin:-margin, margin:-margin] = True
    return mask


def flickering(frames: list[np.ndarray], levels: int, mask: np.ndarray | None = None) -> list[np.ndarray]:
    """Makes every other frame brighter by `levels`, within `mask` if given."""
    dimmed = [(frame * 0.8).astype(np.uint8) for frame in frames]
    where = np.ones(frames[0].shape[:2], bool) if mask is None else mask
    return [frame + (levels * (index % 2) * where)[..., None].astype(np.uint8) for index, frame in enumerate(dimmed)]


def test_motion_along_the_flow_has_no_error():
    count = COUNT - 1
    assert flicker.warp_error(panned(), [pan_flow()] * count, [inner()] * count) == 0
    assert flicker.warp_error(panned(), [-pan_flow()] * count, [inner()] * count) > 0.01


def test_error_is_the_mean_square_over_channels_pixels_and_steps_of_images_in_0_to_1():
    frames = [np.full((10, 12, 3), 100, np.uint8) for _ in range(3)]
    frames[1][..., 0] += 51  # 0.2
    frames[2][:5, :, 0] += 51
    still, everywhere = np.zeros((10, 12, 2), np.float32), np.ones((10, 12), bool)
    error = flicker.warp_error(frames, [still] * 2, [everywhere] * 2)
    assert error == pytest.approx((0.04 / 3 + 0.04 / 6) / 2)
    upper = np.arange(10)[:, None].repeat(12, 1) < 5
    assert flicker.warp_error(frames, [still] * 2, [everywhere, upper]) == pytest.approx(0.04 / 3 / 2)


def test_steps_with_an_empty_mask_do_not_count():
    frames, still = flickering([noise(HEIGHT, WIDTH)] * 3, 30), np.zeros((HEIGHT, WIDTH, 2), np.float32)
    once = flicker.warp_error(frames, [still] * 2, [ALL, ~ALL])
    assert once == pytest.approx(flicker.warp_error(frames, [still] * 2, [ALL] * 2))
    assert math.isnan(flicker.warp_error(frames, [still] * 2, [~ALL] * 2))


def test_frames_and_flows_of_different_lengths_are_rejected():
    with pytest.raises(ValueError, match="zip"):
        flicker.warp_error(panned(), [pan_flow()], [ALL])


def test_flow_points_from_the_next_frame_into_the_frame():
    flow, visible = flicker.estimate_step(*panned(2))
    np.testing.assert_allclose(np.median(flow[inner()], 0), (3, 0), atol=0.1)
    assert visible[inner(16)].mean() > 0.9


def test_pixels_that_enter_over_the_border_are_not_visible_in_both():
    visible = flicker.visible_in_both(pan_flow(), -pan_flow())
    assert not visible[:, -3:].any()
    assert visible[:, :-3].all()


def test_disoccluded_pixels_are_not_visible_in_both():
    """An object moves right by 10 over a still background; where it was, forward and backward flow are inconsistent."""
    forward, backward = (np.zeros((HEIGHT, WIDTH, 2), np.float32) for _ in range(2))
    forward[30:60, 40:70] = (10, 0)
    backward[30:60, 50:80] = (-10, 0)
    visible = flicker.visible_in_both(backward, forward)
    assert not visible[32:58, 42:48].any()  # uncovered: zero backward flow, but the object moved away from there
    assert visible[34:56, 54:76].all()  # the object: both flows agree
    assert visible[:25].all()


def test_motion_boundaries_do_not_count():
    backward = np.zeros((HEIGHT, WIDTH, 2), np.float32)
    backward[:, 64:] = (-4, 0)
    visible = flicker.visible_in_both(backward, -backward)
    assert not visible[:, 63:65].any()
    assert visible[:, :60].all()


def test_edges_are_the_dilated_difference_of_two_versions():
    one = noise(HEIGHT, WIDTH) // 2
    other = one.copy()
    other[40:50, 60:70, 1] += 20
    other[10:20, 10:20] += 5  # below the visible difference
    near = flicker.near_edges(one, other)
    assert near[39:51, 59:71].all()
    assert near.sum() == 12 * 12


def test_flicker_at_an_edge_raises_the_error_there_most():
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[30:60, 50:60] = True
    video = panned()
    errors = flicker.video_errors(video, {"smooth": flickering(video, 0), "rough": flickering(video, 40, mask)})
    smooth, rough, _ = errors.values()
    assert list(errors) == ["smooth", "rough", flicker.INPUT]
    assert rough.everywhere > 2 * smooth.everywhere
    assert rough.edges > 5 * rough.everywhere
    assert smooth.edges < rough.edges / 5


def test_identical_versions_have_no_edges():
    errors = flicker.video_errors(panned(), {"one": panned(), "other": panned()})
    assert all(math.isnan(error.edges) for error in errors.values())
    table = flicker.format_rows("c", errors)
    assert all(line.endswith("(1.000) | - (-) |") for line in table)


def test_streamed_errors_equal_those_of_the_complete_video():
    video, rough = panned(), flickering(panned(), 40)
    steps = [flicker.estimate_step(*pair) for pair in pairwise(video)]
    expected = flicker.warp_error(rough, [step.flow for step in steps], [step.visible for step in steps])
    errors = flicker.video_errors(iter(video), {"smooth": iter(video), "rough": iter(rough)})
    assert errors["rough"].everywhere == expected


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Command lines of stylize.py, which is replaced: it writes its input, with more flicker the less it smooths."""
    recorded: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        recorded.append(command)
        output = Path(command[command.index("-o") + 1])
        output.mkdir()
        levels = 10 * (1 + sum("smoothing=0" in argument for argument in command))
        frames = list(flicker.read_frames(Path(command[2])))
        for number, frame in enumerate(flickering(frames, levels), 1):
            flicker.Image.fromarray(frame).save(output / f"{number:06}.png")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return recorded


def test_every_version_is_stylized_and_the_table_printed(tmp_path: Path, commands: list[list[str]], capsys: Capture):
    video = make_video(tmp_path / "pan.mp4", panned(5))
    assert flicker.main([str(video), "--frames", "3", "--size", "64"]) == 0
    assert [command[1:2] + command[3:5] for command in commands] == [[str(flicker.SCRIPT), "--rate", "25"]] * 3
    assert [command[11:] for command in commands] == list(map(list, flicker.VERSIONS.values()))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[1] for line in lines[2:6]] == [*flicker.VERSIONS, flicker.INPUT]
    cells = [line.split(" | ")[2].strip(")").split(" (") for line in lines[2:6]]
    errors, ratios = ([float(cell[index]) for cell in cells] for index in (0, 1))
    assert errors[0] < errors[1] < errors[2]
    assert ratios == pytest.approx([error / errors[2] for error in errors], abs=1e-3)
    assert lines[-1].startswith("the first 3 frames, at most 64 pixels long, model builtin; lower is steadier")


def test_small_video_is_not_enlarged(tmp_path: Path):
    video = make_video(tmp_path / "pan.mp4", panned(2))
    assert flicker.save_frames(video, tmp_path / "frames", 512, None) == "25"
    assert [frame.shape for frame in flicker.read_frames(tmp_path / "frames")] == [(HEIGHT, WIDTH, 3)] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: VIDEO; see python -m benchmarks.quality.flicker --help"),
        (["nowhere.mp4"], "video nowhere.mp4 does not exist"),
        (["nowhere.mp4", "--frames", "1"], "argument --frames: '1' is not an integer of at least 2"),
    ],
)
def test_bad_input_exits_with_2_and_one_line(arguments: list[str], message: str, capsys: Capture):
    assert flicker.main(arguments) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"benchmarks\.quality\.flicker: [^\n]*\n", error)
    assert message in error


def test_video_of_one_frame_is_rejected(tmp_path: Path, capsys: Capture):
    assert flicker.main([str(make_video(tmp_path / "one.mp4", panned(1)))]) == 2
    assert "one.mp4 has 1 frame(s); at least 2 are needed" in capsys.readouterr().err


def test_last_line_of_a_failed_stylize_run_is_reported(tmp_path: Path, capsys: Capture):
    video = make_video(tmp_path / "pan.mp4", panned(2))
    assert flicker.main([str(video), "--model", str(tmp_path / "none")]) == 2
    error = capsys.readouterr().err
    assert re.fullmatch(r"benchmarks\.quality\.flicker: stylize\.py failed with 2: [^\n]*none[^\n]*\n", error)


def test_without_opencv_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert flicker.main(["video.mp4"]) == 2
    assert "cv2 cannot be imported" in (error := capsys.readouterr().err)
    assert "run pip install '.[test]'" in error


def save_panned(folder: Path, levels: int = 0, count: int = COUNT) -> str:
    folder.mkdir()
    for number, frame in enumerate(flickering(panned(count), levels), 1):
        save(folder / f"{number:06}.png", frame)
    return str(folder)


def test_a_stylized_version_that_flickers_is_told_from_a_steady_one_and_from_its_video(tmp_path: Path, capsys: Capture):
    video, steady, loud = (save_panned(tmp_path / name, levels) for name, levels in (("v", 0), ("s", 0), ("l", 40)))

    def measured(version: str) -> list[float]:
        assert flicker.main([video, "--stylized", version]) == 0
        return [float(line.split("|")[2]) for line in capsys.readouterr().out.splitlines()[2:]]

    assert measured(steady)[0] == measured(steady)[1]
    assert measured(loud)[0] > measured(loud)[1] + 1000 * (30 / 255) ** 2


def test_a_stylized_version_of_other_length_is_refused_in_one_line(tmp_path: Path, capsys: Capture):
    video, short = save_panned(tmp_path / "v"), save_panned(tmp_path / "s", count=2)
    assert flicker.main([video, "--stylized", short]) == 2
    assert re.fullmatch(r"[^\n]*v has 4 frames and [^\n]*s 2; [^\n]*--frames\n", capsys.readouterr().err)
    assert flicker.main([video, "--stylized", short, "--frames", "2"]) == 0
