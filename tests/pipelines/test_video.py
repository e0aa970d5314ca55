"""stylize.py VIDEO --model: times, size and audio are preserved, and every frame is stylized by its regions."""

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_collections import ConfigDict

from msst_jax.cli.stylize_job import StylizeFlags, check_flags
from msst_jax.errors import UserError
from msst_jax.pipelines.run import run_job
from msst_jax.video import feedforward
from msst_jax.video.io.reader import open_video
from tests.helpers.feedforward import pictures_of_model, video_config, video_job
from tests.helpers.logging_state import logged_warnings
from tests.helpers.pictures import noise, save, stripe
from tests.helpers.segmenters import PERSON, fake_networks, painted
from tests.helpers.videos import FILM, NTSC, UNEVEN, Tone, make_video, moving, sound_packets

pytestmark = pytest.mark.usefixtures("small_batches")

MILLISECOND = Fraction(1, 1000)


def stylize(video: Path, output: Path, model: Path, config: ConfigDict | None = None, **more: Any) -> Path:
    assert run_job(config or video_config(), video_job(video, output, model=str(model), **more)) == 0
    assert not output.with_name(f"{output.name}.part").exists()
    return output


def read_frames(path: Path) -> list[np.ndarray]:
    return [frame.image for frame in open_video(path).frames()]


def expected_frame(model: Path, frame: np.ndarray, mask: np.ndarray, ratio: float = 0.0) -> np.ndarray:
    """A frame uint8 (H, W, 3) as stylized by the network with a mask (H, W) in [0, 1]; 0 to 255."""
    return 255 * pictures_of_model(model, frame[None], np.float32(mask)[None], ratio)[0]


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found.astype(float), wanted, atol=1.5)


SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "odd": ("a.webm", {"images": moving(5, 47, 33), "codec": "libvpx-vp9"}),
    "uneven": ("a.mkv", {"images": moving(10), "times": UNEVEN, "time_base": MILLISECOND}),
    "rotated": ("a.mp4", {"images": [noise(48, 64, seed) for seed in range(3)], "rotation": (90,)}),
    "silent": ("a.mp4", {"images": moving(5), "rate": NTSC}),
    "mono": ("a.mp4", {"images": moving(5), "rate": FILM, "sounds": [Tone("aac", 44100, "mono", seconds=0.2)]}),
    "10-bit": ("a.mkv", {"images": moving(5), "form": "yuv420p10le", "rate": NTSC}),
    "one": ("a.mp4", {"images": moving(1), "rate": NTSC}),
    "alpha": ("a.mov", {"images": [np.dstack([noise(48, 64), stripe(48, 64, 0, 0.7)])] * 3, "codec": "qtrle",
                        "form": "argb"}),
}  # fmt: skip


@pytest.mark.parametrize("ending", [".mp4", ".webm", ".gif", ""])
@pytest.mark.parametrize("source", SOURCES)
def test_frame_times_size_rate_and_audio_are_preserved(model: Path, tmp_path: Path, left, source: str, ending: str):
    name, settings = SOURCES[source]
    path = make_video(tmp_path / name, **settings)
    before = open_video(path)
    count = len(list(before.frames()))
    output = stylize(path, tmp_path / f"out{ending}", model, masks=left)
    after = open_video(output)
    times = [frame.time for frame in after.frames()]
    assert (after.info.width, after.info.height) == (before.info.width, before.info.height)
    if ending in (".mp4", ".webm"):
        assert after.info.rate == before.info.rate or source == "uneven"
        wanted = [frame.time for frame in before.frames()]
        assert max(abs(one - two) for one, two in zip(times, wanted, strict=True)) <= MILLISECOND
        assert abs(after.info.duration - before.info.duration) <= 1 / before.info.rate
        assert len(after.info.audio_streams) == len(before.info.audio_streams)
    if source == "mono" and ending == ".mp4":
        assert [data for _, data in sound_packets(output)] == [data for _, data in sound_packets(path)]
    assert len(times) == count - (
        source == "uneven" and ending == ".gif"
    )  # of which two are too close together for a GIF
    reported = json.loads(output.with_suffix(".json").read_text())["clip"]
    assert (reported["frames"], Fraction(reported["rate"])) == (count, before.info.rate)
    assert abs(reported["duration"] - before.info.duration) <= 1 / before.info.rate


@pytest.mark.slow
@pytest.mark.parametrize("name", ["intel_asl_walk", "davis_parkour", "davis_dance-twirl"])
def test_real_videos_keep_their_times_rate_and_audio(
    shared: Path, model: Path, tmp_path: Path, name: str, left, monkeypatch
):
    monkeypatch.setattr(feedforward, "MAX_BATCH", 16)
    path, folder = (shared / "data" / "video" / f"{name}{ending}" for ending in (".mp4", "_masks"))
    masks = {"person": str(folder)} if folder.exists() else left
    before = open_video(path)
    after = open_video(stylize(path, tmp_path / "out.mp4", model, video_config(size=96), masks=masks))
    assert (after.info.rate, after.info.duration) == (before.info.rate, before.info.duration)
    assert [frame.time for frame in after.frames()] == [frame.time for frame in before.frames()]
    assert max(after.info.width, after.info.height) == 96
    assert after.info.audio_streams == before.info.audio_streams


def test_sidecar_records_regions_model_blend_and_video(model: Path, tmp_path: Path, left):
    path = make_video(tmp_path / "a.mp4", moving(3), rate=NTSC, sounds=[Tone("aac", seconds=0.1)])
    stylize(path, tmp_path / "out.mp4", model, masks=left, blend="0:0,1:0.5", crf=30)
    sidecar = json.loads((tmp_path / "out.json").read_text())
    assert sidecar["clip"] == {"frames": 3, "rate": "30000/1001", "duration": float(3 / NTSC), "sounds": ["aac"]}
    assert sidecar["blend"] == {"seconds": [0, 1], "ratios": [0, 0.5]}
    assert [(region["name"], region["origin"]) for region in sidecar["regions"]] == [
        ("person", "mask"),
        ("background", "rest"),
    ]
    assert [region["share"] for region in sidecar["regions"]] == pytest.approx([0.5, 0.5], abs=0.01)
    assert sidecar["photo"] == str(path)
    assert sidecar["masks"] == left
    assert sidecar["model"]["name"] == str(model)
    assert sidecar["size"] == [64, 48]
    assert sidecar["seconds"]["total"] > 0


def test_every_region_of_a_frame_gets_its_own_style(model: Path, tmp_path: Path, left):
    path = make_video(tmp_path / "a.mp4", [noise(48, 64, seed) for seed in range(5)])
    stylized = read_frames(stylize(path, tmp_path / "out", model, video_config(feather=0.0), masks=left))
    mask = stripe(48, 64, 0, 0.5) / 255
    for one, frame in zip(stylized, read_frames(path), strict=True):
        assert_close(one, expected_frame(model, frame, mask))


def test_regions_without_a_mask_are_segmented_in_every_frame(model: Path, tmp_path: Path, monkeypatch):
    loaded = fake_networks(monkeypatch)
    labels = np.zeros((5, 48, 64), int)
    for number in range(5):
        labels[number, 10:40, 5 + 6 * number : 25 + 6 * number] = PERSON
    (tmp_path / "in").mkdir()
    for number, label in enumerate(labels):
        save(tmp_path / "in" / f"{number}.png", painted(label))
    config = video_config(feather=0.0, mask_smoothing=0.0, refine_edges=False)
    output = stylize(tmp_path / "in", tmp_path / "out", model, config)
    sidecar = json.loads((tmp_path / "out.json").read_text())
    assert sidecar["segmenter"]["name"] == "deeplabv3_efficientnet_lite0"
    assert sidecar["regions"][0]["share"] == pytest.approx((labels == PERSON).mean(), abs=0.05)
    assert len(loaded) == 1
    for stylized, label in zip(read_frames(output), labels, strict=True):
        wanted = expected_frame(model, painted(label), (label == PERSON).astype(float))
        assert np.median(np.abs(stylized - wanted)) < 8


def test_blend_changes_from_the_first_ratio_to_the_last(model: Path, tmp_path: Path, left):
    path = make_video(tmp_path / "a.mp4", [noise(48, 64)] * 6, rate=Fraction(5))
    config = video_config(feather=0.0)
    stylized = read_frames(stylize(path, tmp_path / "out", model, config, masks=left, blend="0:0.0,1:1.0"))
    mask = stripe(48, 64, 0, 0.5) / 255
    for number, ratio in ((0, 0.0), (2, 0.4), (5, 1.0)):
        assert_close(stylized[number], expected_frame(model, read_frames(path)[number], mask, ratio))
    assert (
        np.abs(expected_frame(model, noise(48, 64), mask, 0) - expected_frame(model, noise(48, 64), mask, 1)).mean() > 3
    )


@pytest.mark.slow
def test_segment_every_misses_what_appears_between_key_frames(model: Path, tmp_path: Path, monkeypatch):
    fake_networks(monkeypatch)
    (tmp_path / "in").mkdir()
    empty, person = (painted(np.full((48, 64), label)) for label in (0, PERSON))
    for number in range(5):
        save(tmp_path / "in" / f"{number}.png", person if number else empty)
    for every, seen in ((1, 4 / 5), (2, 3 / 5)):
        config = video_config(segment_every=every, refine_edges=False)
        stylize(tmp_path / "in", tmp_path / "out.mp4", model, config)
        share = json.loads((tmp_path / "out.json").read_text())["regions"][0]["share"]
        assert share == pytest.approx(seen, abs=0.02)


def moving_masks(count: int) -> list[np.ndarray]:
    return [stripe(48, 64, 0.1 * number, 0.1 * number + 0.4) for number in range(count)]


def mask_folder(folder: Path, masks: Sequence[np.ndarray]) -> Path:
    folder.mkdir()
    for number, mask in enumerate(masks, 8):  # 8.png, 9.png, 10.png: in numeric, not in alphabetical order
        save(folder / f"{number}.png", mask)
    return folder


def mask_video(path: Path, masks: Sequence[np.ndarray], rate: Fraction = Fraction(7)) -> Path:
    return make_video(path, [np.stack([mask] * 3, -1) for mask in masks], form="yuv444p", rate=rate)


@pytest.mark.parametrize(("make_masks", "place"), [(mask_folder, "masks"), (mask_video, "masks.mp4")])
def test_per_frame_masks_are_applied_to_their_frames(
    model: Path, tmp_path: Path, make_masks: Callable[[Path, Sequence[np.ndarray]], Path], place: str, caplog
):
    path = make_video(tmp_path / "a.mp4", [noise(48, 64, seed) for seed in range(5)])
    masks = make_masks(tmp_path / place, moving_masks(5))
    stylized = read_frames(
        stylize(path, tmp_path / "out", model, video_config(feather=0.0), masks={"person": str(masks)})
    )
    for one, frame, mask in zip(stylized, read_frames(path), moving_masks(5), strict=True):
        wanted = expected_frame(model, frame, mask / 255)
        assert np.quantile(np.abs(one - wanted), 0.99) < 3
    assert not logged_warnings(caplog)


def test_a_mask_video_that_ends_early_repeats_its_last_frame_with_a_warning(model: Path, tmp_path: Path, caplog):
    path = make_video(tmp_path / "a.mp4", [noise(48, 64, seed) for seed in range(5)])
    masks = mask_video(tmp_path / "masks.mp4", moving_masks(3), Fraction(25))
    stylized = read_frames(
        stylize(path, tmp_path / "out", model, video_config(feather=0.0), masks={"person": str(masks)})
    )
    wanted = expected_frame(model, read_frames(path)[4], moving_masks(3)[2] / 255)
    assert np.quantile(np.abs(stylized[4] - wanted), 0.99) < 3
    assert f"--mask person={masks} ends before the video: its last frame is repeated" in caplog.text


@pytest.mark.parametrize("count", [4, 6])
def test_a_folder_with_the_wrong_number_of_masks_is_rejected(model: Path, tmp_path: Path, count: int):
    path = make_video(tmp_path / "a.mp4", moving(5))
    masks = mask_folder(tmp_path / "masks", moving_masks(count))
    before = {file.name for file in tmp_path.iterdir()}
    with pytest.raises(UserError, match=rf"^--mask person={masks} has {count} images, {path} 5 frames; give one for"):
        stylize(path, tmp_path / "out.mp4", model, masks={"person": str(masks)})
    assert {file.name for file in tmp_path.iterdir()} == before


def test_a_mask_video_of_another_rate_is_matched_by_time(model: Path, tmp_path: Path):
    path = make_video(tmp_path / "a.mp4", [noise(48, 64)] * 6)
    masks = moving_masks(3)
    video = mask_video(tmp_path / "mask.mp4", masks, Fraction(25, 2))
    stylized = read_frames(
        stylize(path, tmp_path / "out", model, video_config(feather=0.0), masks={"person": str(video)})
    )
    for number, (one, frame) in enumerate(zip(stylized, read_frames(path), strict=True)):
        wanted = expected_frame(model, frame, masks[number // 2] / 255)
        assert np.quantile(np.abs(one - wanted), 0.99) < 3


def test_masks_stay_with_their_frames_if_a_frame_is_unreadable(model: Path, tmp_path: Path):
    frames, masks = tmp_path / "frames", tmp_path / "masks"
    for folder in (frames, masks):
        folder.mkdir()
    for number in range(5):
        save(frames / f"{number}.png", noise(24, 32, number))
        save(masks / f"{number}.png", stripe(24, 32, 0, number / 4))
    config = video_config(picture_smoothing=0.0)
    whole = read_frames(stylize(frames, tmp_path / "whole", model, config, masks={"person": str(masks)}))
    (frames / "1.png").write_bytes(b"damaged")
    short = read_frames(stylize(frames, tmp_path / "short", model, config, masks={"person": str(masks)}))
    assert_close(np.stack(short), np.stack([whole[0], *whole[2:]]))


def test_a_folder_of_frames_gets_the_requested_rate(model: Path, tmp_path: Path, left):
    (tmp_path / "in").mkdir()
    for number in range(5):
        save(tmp_path / "in" / f"f{number}.jpg", noise(48, 64, number))
    output = stylize(tmp_path / "in", tmp_path / "out.mp4", model, masks=left, rate=NTSC)
    info = open_video(output).info
    assert (info.rate, info.frames, info.duration) == (NTSC, 5, 5 / NTSC)


@pytest.mark.parametrize("name", ["out.mp4", "frames"])
def test_an_output_that_is_a_link_is_written_through(model: Path, tmp_path: Path, left, name: str):
    path = make_video(tmp_path / "a.mp4", moving(2))
    (tmp_path / "disk").mkdir()
    link = tmp_path / name
    link.symlink_to(tmp_path / "disk" / f"real{link.suffix}")
    assert len(read_frames(stylize(path, link, model, masks=left))) == 2
    assert link.is_symlink()
    assert [file.name for file in (tmp_path / "disk").iterdir()] == [f"real{link.suffix}"]


@pytest.mark.parametrize(("ending", "size"), [(".mp4", (40, 30)), (".gif", (41, 31))])
def test_a_resized_mp4_has_even_sides(model: Path, tmp_path: Path, left, ending: str, size: tuple[int, int]):
    path = make_video(tmp_path / "a.mp4", moving(2))
    output = stylize(path, tmp_path / f"out{ending}", model, video_config(size=41), masks=left)
    assert open_video(output).info.width == size[0]
    assert open_video(output).info.height == size[1]


def test_flags_without_effect_are_rejected(model: Path, tmp_path: Path, left):
    path = make_video(tmp_path / "a.mp4", moving(2))
    with pytest.raises(UserError, match=r"^--rate is for a folder of frames, and .*a.mp4 has a rate of its own"):
        check_flags(StylizeFlags(rate="25"), [str(path)])
    check_flags(StylizeFlags(rate="25"), [str(tmp_path)])
    for name in ("out.gif", "out"):
        with pytest.raises(
            UserError, match=rf"the quality \(crf\) is 20, but .*{name} has none; leave it out, or write"
        ):
            stylize(path, tmp_path / name, model, masks=left, crf=20)
