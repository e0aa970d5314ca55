"""Which command continues the run of a workdir: the same content does, wherever and whenever the files lie."""

import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from msst_jax.configs import fast
from msst_jax.errors import UserError
from msst_jax.io.lock import locked_folder
from msst_jax.models.stylizer import Stylizer
from msst_jax.pipelines.train import TrainJob, run
from msst_jax.registry import register_stylizer
from msst_jax.training.run_record import CONFIG_FILE, FILES_FILE, FREE_FIELDS, STEPS
from tests.helpers.pictures import noise, save
from tests.helpers.training_runs import job, make_photos, tiny_any_config, tiny_config

pytestmark = pytest.mark.usefixtures("calls")

WAYS_OUT = "; take another --workdir, or start again with --restart, which deletes its checkpoints and model"


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrainJob:
    """A job whose run has begun in the current folder."""
    monkeypatch.chdir(make_photos(tmp_path, 4))
    wanted = job(tmp_path, photos=["photos"], masks=["masks"])
    assert run(tiny_config(), wanted) == 0
    return wanted


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def touch(wanted: TrainJob) -> TrainJob:
    for path in [*Path("photos").iterdir(), *Path("masks").iterdir(), *map(Path, wanted.styles.values())]:
        os.utime(path, (1, 1))
    return wanted


def link(wanted: TrainJob) -> TrainJob:
    Path("link").symlink_to("photos")
    return replace(wanted, photos=["link"])


def copy(wanted: TrainJob) -> TrainJob:
    shutil.copytree(".", "elsewhere", ignore=shutil.ignore_patterns("run"))
    styles = {name: f"elsewhere/{Path(file).name}" for name, file in wanted.styles.items()}
    return replace(wanted, photos=["elsewhere/photos"], masks=["elsewhere/masks"], styles=styles)


SAME: dict[str, Callable[[TrainJob], TrainJob]] = {
    "trailing slash": lambda wanted: replace(wanted, photos=["photos/"], masks=["masks/"]),
    "dot": lambda wanted: replace(wanted, photos=["./photos"], masks=["./masks/."]),
    "absolute": lambda wanted: replace(wanted, photos=[str(Path("photos").resolve())]),
    "detour": lambda wanted: replace(wanted, photos=["masks/../photos"]),
    "link": link,
    "other times": touch,
    "copied elsewhere": copy,
    "workdir spelled otherwise": lambda wanted: replace(wanted, workdir=Path("./run/")),
}


@pytest.mark.parametrize("kind", SAME)
def test_the_same_content_continues_the_run(begun: TrainJob, kind: str):
    assert run(tiny_config(), SAME[kind](begun)) == 0
    assert run(tiny_config(), begun) == 0


def flip(path: str, place: int = -20) -> None:
    content = bytearray(Path(path).read_bytes())
    content[place] ^= 1
    Path(path).write_bytes(content)


def rename(folder: str, before: str, after: str) -> None:
    Path(folder, before).rename(Path(folder, after))


def restyle() -> None:
    save(Path("b.png"), noise(30, 30))


OTHER: dict[str, tuple[Callable[[], object], str]] = {
    "other bytes": (lambda: flip("photos/01.png"), "the photos have changed: 1 of other content (the first: 01.png)"),
    "other size": (
        lambda: save(Path("photos/01.png"), noise(9, 9)),
        "the photos have changed: 1 of another size (the first: 01.png)",
    ),
    "a photo more": (
        lambda: save(Path("photos/04.png"), noise(40, 40)) and shutil.copy("masks/03.png", "masks/04.png"),
        "the photos have changed: 1 added (the first: 04.png)",
    ),
    "a photo less": (lambda: Path("photos/00.png").unlink(), "the photos have changed: 1 removed (the first: 00.png)"),
    "a photo renamed": (
        lambda: (rename("photos", "00.png", "9.png"), rename("masks", "00.png", "9.png")),
        "the photos have changed: 1 added (the first: 9.png), 1 removed (the first: 00.png)",
    ),
    "other bytes of a mask": (
        lambda: flip("masks/02.png"),
        "the masks have changed: 1 of other content (the first: 02.png)",
    ),
    "another style": (restyle, "the style of background is another picture"),
}


@pytest.mark.parametrize("kind", OTHER)
def test_other_content_is_another_run_and_nothing_is_touched(begun: TrainJob, kind: str):
    change, message = OTHER[kind]
    before = files(begun.workdir)
    change()
    with pytest.raises(UserError) as caught:
        run(tiny_config(), begun)
    assert str(caught.value) == f"workdir {begun.workdir} holds another run: {message}{WAYS_OUT}"
    assert files(begun.workdir) == before
    assert run(tiny_config(), replace(begun, workdir=Path("another"))) == 0
    assert run(tiny_config(), replace(begun, restart=True)) == 0


def test_a_second_folder_is_another_run(begun: TrainJob):
    Path("more").mkdir()
    save(Path("more/x.png"), noise(40, 40))
    shutil.copy("masks/00.png", "masks/x.png")
    with pytest.raises(UserError, match="the photos have changed: 5 added"):
        run(tiny_config(), replace(begun, photos=["photos", "more"]))


def test_a_run_that_an_earlier_version_began_goes_on_and_gets_contents(begun: TrainJob):
    """It recorded paths as typed, and sizes."""
    record = begun.workdir / FILES_FILE
    now = json.loads(record.read_text())
    old = {field: {f"{field}/{name}": size for name, (size, _) in now[field].items()} for field in ("photos", "masks")}
    record.write_text(json.dumps(old))
    assert run(tiny_config(), replace(begun, photos=["./photos/"])) == 0
    assert json.loads(record.read_text()) == now
    record.write_text(json.dumps(old))
    Path("photos/00.png").unlink()
    with pytest.raises(UserError, match=r"the photos have changed: 1 removed \(the first: 00.png\)"):
        run(tiny_config(), begun)


CHANGED: dict[str, Any] = {
    "workers": 3,
    "log_every": 2,
    "sample_every": 7,
    "checkpoint_every": 3,
    "keep_last": 9,
    "keep_every": 4,
    "steps": 12,
}


def other_value(field: str) -> Any:
    """Another value of a field of the config."""
    value = tiny_config()[field]
    choices = {
        "precision": "bfloat16",
        "without_mask": "random",
        "network": "vgg16",
        "segmenter": "deeplabv3_resnet50",
        "region_weights": (1.0, 2.0),
    }
    if field in choices:
        return choices[field]
    if isinstance(value, bool | np.bool_):
        return not value
    return value * 2 or 1 if isinstance(value, int) else value / 2 or 0.5


FIXED = sorted(
    {*fast.get_config()}
    - {*CHANGED, "task", "network", "leave_out", "blocks", "style_layers", "content_layers"}
    - {"style_layer_weights", "content_layer_weights", "largest_crop", "architecture", "start", "accumulate"}
)  # the fields with one valid value for the tiny network, the layers, and those tested below are left out


def test_the_fields_that_may_change_are_these():
    assert {*FREE_FIELDS, STEPS} == CHANGED.keys()


@pytest.mark.parametrize("field", CHANGED)
def test_a_field_that_does_not_affect_the_steps_done_may_change_and_is_recorded(begun: TrainJob, field: str):
    assert run(tiny_config(**{field: CHANGED[field]}), begun) == 0
    assert json.loads((begun.workdir / CONFIG_FILE).read_text())["config"][field] == CHANGED[field]


@pytest.mark.parametrize("field", FIXED)
def test_any_other_field_makes_another_run(begun: TrainJob, field: str):
    value = other_value(field)
    shown = repr([*value] if isinstance(value, tuple) else value)
    with pytest.raises(UserError, match=rf"holds another run: config\.{field} was .*, now {re.escape(shown)}"):
        run(tiny_config(**{field: value}), begun)


def test_another_architecture_or_start_makes_another_run(begun: TrainJob, model: Path):
    register_stylizer("mine", lambda styles, config, dtype, rngs: Stylizer(styles, width=4, blocks=1, rngs=rngs))
    with pytest.raises(UserError, match=r"holds another run: config\.architecture was 'region_stylizer', now 'mine'"):
        run(tiny_config(architecture="mine"), begun)
    with pytest.raises(UserError, match=r"holds another run: config\.start was '', now '.*model"):
        run(tiny_config(start=str(model)), begun)


def test_a_batch_in_other_parts_makes_another_run(begun: TrainJob):
    with pytest.raises(UserError, match=r"holds another run: config\.accumulate was 1, now 2; config\.batch was 4"):
        run(tiny_config(accumulate=2, batch=8), begun)


def forget(workdir: Path, *fields: str) -> None:
    """Takes fields from the record of a run, as if an earlier version had begun it."""
    record = json.loads((workdir / CONFIG_FILE).read_text())
    for field in fields:
        del record["config"][field]
    (workdir / CONFIG_FILE).write_text(json.dumps(record))


def test_a_run_of_a_version_without_some_fields_of_today_goes_on(begun: TrainJob):
    forget(begun.workdir, "start", "temporal_weight", "region_weights", "accumulate")
    assert run(tiny_config(), begun) == 0


def test_a_run_of_a_version_whose_config_had_a_dtype_goes_on(begun: TrainJob):
    record = json.loads((begun.workdir / CONFIG_FILE).read_text())
    del record["config"]["precision"]
    for dtype, same, other in (("float32", "default", "bfloat16"), ("bfloat16", "bfloat16", "default")):
        record["config"]["dtype"] = dtype
        (begun.workdir / CONFIG_FILE).write_text(json.dumps(record))
        with pytest.raises(UserError, match=rf"holds another run: config\.precision was '{same}', now '{other}'"):
            run(tiny_config(precision=other), begun)
        assert run(tiny_config(precision=same), begun) == 0


def test_a_run_of_a_version_with_another_network_is_refused_with_the_way_out(begun: TrainJob):
    """Versions before the field had the network that made a picture for each style."""
    forget(begun.workdir, "architecture")
    with pytest.raises(UserError) as caught:
        run(tiny_config(), begun)
    assert str(caught.value).endswith(f"config.architecture was 'stylizer', now 'region_stylizer'{WAYS_OUT}")
    assert run(tiny_config(), replace(begun, restart=True)) == 0


def test_fewer_steps_than_are_done_are_refused_and_fewer_than_planned_are_not(begun: TrainJob, caplog):
    caplog.set_level("INFO")
    (begun.workdir / "checkpoints" / "4").mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"^config.steps is 3, but the run in .*run has taken 4; give at least 4, or an"
    ):
        run(tiny_config(steps=3), begun)
    assert run(tiny_config(steps=4), begun) == 0
    assert "config.steps was 6, now 4: from here on the learning rate falls to 0 there" in caplog.text


def test_weights_that_a_field_names_count_by_their_content(begun: TrainJob, monkeypatch):
    for name in ("one", "same", "other"):
        Path(name).mkdir()
        Path(name, "model.safetensors").write_bytes(b"weights" if name != "other" else b"changed")
    wanted = replace(begun, workdir=Path("named"))
    assert run(tiny_config(segmenter="one"), wanted) == 0
    for spelling in ("one/", "./one", "one/model.safetensors", "same"):
        assert run(tiny_config(segmenter=spelling), wanted) == 0
    with pytest.raises(UserError, match=r"holds another run: the weights of config.segmenter are of other content;"):
        run(tiny_config(segmenter="other"), wanted)


def test_other_paintings_make_another_run_and_the_same_in_another_place_go_on(tmp_path: Path):
    make_photos(tmp_path, 4)
    paintings, moved = tmp_path / "paintings", tmp_path / "moved"
    paintings.mkdir()
    save(paintings / "a.png", noise(30, 36))
    wanted = job(tmp_path, styles={})
    assert run(tiny_any_config(paintings), wanted) == 0
    shutil.copytree(paintings, moved)
    assert run(tiny_any_config(moved), wanted) == 0
    save(moved / "b.png", noise(30, 36, 1))
    with pytest.raises(
        UserError, match=r"holds another run: the paintings have changed: 1 added \(the first: b.png\);"
    ):
        run(tiny_any_config(moved), wanted)


def test_a_second_run_in_a_workdir_is_refused_and_the_first_is_not_disturbed(begun: TrainJob):
    with locked_folder(begun.workdir, "x"):
        before = files(begun.workdir)
        for restart in (False, True):
            with pytest.raises(
                UserError, match=rf"run is in use by process {os.getpid()} on .*; wait until it ends, or take another"
            ):
                run(tiny_config(), replace(begun, workdir=Path("run/"), restart=restart))
        assert files(begun.workdir) == before
    assert run(tiny_config(), begun) == 0
    assert not [path for path in begun.workdir.iterdir() if path.name.startswith(".")]


def test_other_hosts_do_not_lock(begun: TrainJob, monkeypatch):
    monkeypatch.setattr("jax.process_index", lambda: 1)
    with locked_folder(begun.workdir, "x"):
        assert run(tiny_config(), begun) == 0


def test_a_run_goes_on_where_a_killed_one_left_its_lock_and_says_so(begun: TrainJob, caplog):
    caplog.set_level("INFO")
    (begun.workdir / ".lock").write_text("12345 elsewhere\n")
    assert run(tiny_config(), begun) == 0
    assert f"{begun.workdir}: taking over from process 12345 on elsewhere, which was killed" in caplog.messages


DAMAGE: dict[str, bytes] = {
    "empty": b"",
    "cut short": b'{"config": {"width": 4, "blo',
    "zeros": bytes(100),
    "no text": b"\xff\xfe\x00\x81",
    "a list": b"[1, 2]",
    "null": b"null",
    "no fields": b"{}",
    "wrong types": b'{"config": 1, "photos": 2, "masks": {"a": "b"}, "styles": [3]}',
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_config_is_one_line_whose_advice_works(begun: TrainJob, damage: str):
    path = begun.workdir / CONFIG_FILE
    path.write_bytes(DAMAGE[damage])
    with pytest.raises(UserError, match=r"config.json is damaged \(.*\), so its run cannot go on; take another"):
        run(tiny_config(), begun)
    assert run(tiny_config(), replace(begun, workdir=Path("another"))) == 0
    assert run(tiny_config(), replace(begun, restart=True)) == 0
    assert run(tiny_config(), begun) == 0


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_of_the_files_is_written_again_with_a_warning(begun: TrainJob, damage: str, caplog):
    path = begun.workdir / FILES_FILE
    before = path.read_text()
    path.write_bytes(DAMAGE[damage])
    assert run(tiny_config(), begun) == 0
    assert f"{path} is damaged: photos and masks are taken to be those of the start" in caplog.messages
    assert path.read_text() == before


@pytest.mark.parametrize("restart", [False, True])
def test_what_a_killed_run_was_writing_is_removed(begun: TrainJob, restart: bool):
    (begun.workdir / "samples").mkdir()
    left = [".config-abcdefgh.json", ".model-abcdefgh.safetensors", "samples/.0000004-abcdefgh.jpg"]
    for name in left:
        (begun.workdir / name).touch()
    (begun.workdir / ".mine").touch()
    assert run(tiny_config(), replace(begun, restart=restart)) == 0
    assert not [name for name in left if (begun.workdir / name).exists()]
    assert (begun.workdir / ".mine").exists()
