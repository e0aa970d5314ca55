"""--import: the user's module is loaded first, what it registers works by name, and the JSON says what was imported."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msst_jax.cli.imports import import_modules
from msst_jax.errors import UserError
from msst_jax.models.feedforward_model import load_feedforward
from msst_jax.models.serialization import read_tensors
from msst_jax.registry import SEGMENTERS, STYLIZERS
from tests.helpers.commands import TRAIN, run_command
from tests.helpers.own_networks import sky_photo, write_module
from tests.helpers.pictures import noise, save
from tests.helpers.training_runs import make_photos, tiny_flags
from tests.helpers.videos import make_video

SEGMENTED = ["--segmenter=blue", "--import=my_networks.py"]
TINY = ["--config.steps=2", "--config.size=32", "--config.scales=(1.0,)", "--quiet"]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    write_module(tmp_path)
    save(tmp_path / "photo.png", sky_photo(40, 60))
    for name, seed in (("a.png", 1), ("b.png", 2)):
        save(tmp_path / name, noise(40, 40, seed))
    return tmp_path


def record(file: Path) -> dict:
    return json.loads(file.read_text())


def test_regions_of_an_own_segmenter_are_exported_with_what_was_imported(scene: Path):
    code, printed = run_command(
        ["photo.png", "--regions-only", *SEGMENTED, "--config.size=0", "-o", "masks.png"], scene
    )
    assert code == 0, printed
    mask = np.asarray(Image.open(scene / "masks_sky.png"))
    assert ((mask > 127) == (np.arange(40)[:, None] < 16)).mean() > 0.99
    written = record(scene / "masks.json")
    assert written["segmenter"] == {"name": "blue", "classes": ["background", "sky"]}
    assert written["imports"] == ["my_networks.py"]


@pytest.mark.slow
def test_a_style_of_an_own_class_paints_it_and_the_json_repeats_the_run_with_the_same_import(scene: Path):
    styles = ["--style=sky=a.png", "--style=background=keep"]
    code, printed = run_command(["photo.png", *styles, *SEGMENTED, *TINY, "-o", "out.png"], scene)
    assert code == 0, printed
    written = record(scene / "out.json")
    assert [(region["name"], region["origin"]) for region in written["regions"]] == [
        ("sky", "segmenter"),
        ("background", "rest"),
    ]
    assert written["imports"] == ["my_networks.py"]
    again = ["--config=out.json", "--import=my_networks.py", "-o", "again.png", "--quiet"]
    assert run_command(again, scene) == (0, "")
    np.testing.assert_array_equal(Image.open(scene / "again.png"), Image.open(scene / "out.png"))
    SEGMENTERS.remove("blue")  # as in a process that has not imported it
    code, printed = run_command(["--config=out.json", "-o", "third.png"], scene)
    assert code == 2
    assert printed.count("\n") == 1
    assert "config.segmenter is 'blue'; use one of" in printed
    assert printed.endswith("the run of --config had --import my_networks.py: add it\n")
    assert not (scene / "third.png").exists()


def test_frames_of_a_video_are_segmented_by_an_own_segmenter(scene: Path, model: Path):
    make_video(scene / "in.mp4", [sky_photo(32, 48)] * 2)
    found = scene / "seen.txt"
    text = (
        "from pathlib import Path\n"
        "from msst_jax.registry import register_segmenter\n"
        "def segment(photo):\n"
        f"    Path({str(found)!r}).write_text(str(photo.shape))\n"
        "    return (photo[..., 2:] > photo[..., :1] + 0.2) * 1.0\n"
        "register_segmenter('bluish', lambda: segment, classes=['person'])\n"
    )
    write_module(scene, "frames.py", text)
    arguments = ["in.mp4", f"--model={model}", "--segmenter=bluish", "--import=frames.py", "-o", "out.mp4"]
    code, printed = run_command([*arguments, "--quiet"], scene)
    assert code == 0, printed
    assert "(32, 48, 3)" in found.read_text()
    written = record(scene / "out.json")
    shares = {region["name"]: region["share"] for region in written["regions"]}
    assert shares["person"] == pytest.approx(12 / 32, abs=0.05)
    assert written["imports"] == ["frames.py"]


def test_an_own_task_trains_with_fields_of_its_own(scene: Path):
    make_photos(scene / "in", 3)
    config = "\n".join(
        [
            "from msst_jax.configs import fast",
            "def get_config():",
            "    config = fast.get_config().unlock()",
            "    for name in ('width', 'blocks', 'style_layers', 'architecture', 'start'):",
            "        del config[name]",
            "    config.task, config.first = 'color', 0.25",
            "    config.size, config.batch, config.steps, config.warmup, config.workers = 32, 4, 2, 1, 1",
            "    config.samples, config.checkpoint_every = 1, 2",
            "    return config.lock()",
        ]
    )
    (scene / "my_config.py").write_text(config)
    flags = ["--config=my_config.py", "--import=my_networks.py", "--workdir=run", "--photos=in/photos", "--quiet"]
    assert run_command(flags, scene, TRAIN) == (0, "")
    assert (scene / "run" / "model.safetensors").exists()
    assert record(scene / "run" / "config.json")["imports"] == ["my_networks.py"]
    repeat = ["--config=run/config.json", "--import=my_networks.py", *flags[2:]]
    assert run_command(repeat, scene, TRAIN)[0] == 0
    code, printed = run_command([*flags, "--config.task=colour"], scene, TRAIN)
    assert (code, printed) == (
        2,
        "train.py: config.task is 'colour'; did you mean color?; one of your own needs --import MODULE\n",
    )


@pytest.mark.slow
def test_an_own_architecture_is_trained_and_its_model_needs_the_import(scene: Path):
    make_photos(scene / "in")
    flags = [*tiny_flags(scene / "in", steps=2), "--config.architecture=tinted", "--import=my_networks.py", "--quiet"]
    assert run_command(flags, scene, TRAIN) == (0, "")
    weights = scene / "run" / "model.safetensors"
    assert set(read_tensors(weights)) == {"conv.kernel", "conv.bias", "tints"}
    model = load_feedforward(str(scene / "run"))
    assert (model.architecture, model.regions) == ("tinted", ("person", "background"))
    stylize = ["photo.png", "--model=run", *SEGMENTED[1:], "-o", "out.png", "--quiet", "--config.size=32"]
    save(scene / "left.png", np.full((40, 60), 255, np.uint8))
    assert run_command([*stylize, "--mask=person=left.png"], scene) == (0, "")
    assert record(scene / "out.json")["imports"] == ["my_networks.py"]
    write_module(
        scene,
        "packed.py",
        (
            "from msst_jax.registry import STYLIZERS, register_stylizer\n"
            f"register_stylizer('packed', STYLIZERS['tinted'].build, weights={str(weights)!r})\n"
        ),
    )
    named = ["photo.png", "--model=packed", "--import=my_networks.py", "--import=packed.py", "--mask=person=left.png"]
    assert run_command([*named, "-o", "named.png", "--quiet", "--config.size=32"], scene)[0] == 0
    STYLIZERS.remove("tinted")
    code, printed = run_command(["photo.png", "--model=run", "-o", "x.png"], scene)
    assert code == 2
    assert "--model run is of the architecture 'tinted', which is not there" in printed
    assert "--import" in printed


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none.py", None, "--import none.py: there is no such file; correct the name, or give a module on sys.path"),
        (
            "nowhere",
            None,
            "--import nowhere: there is no module 'nowhere' on sys.path; correct the name, or",
        ),
        ("beside", "", "there is no module 'beside' on sys.path; did you mean --import beside.py?"),
        ("bad.py", "x = 1\ny = x / 0\n", "--import bad.py fails in line 2 (ZeroDivisionError: division by zero); mend"),
        ("typo.py", "x = 1\ndef\n", "--import typo.py fails in line 2 (SyntaxError: "),
        ("lack.py", "import nothing_of_the_kind\n", "--import lack.py fails in line 1 (ModuleNotFoundError: No module"),
        (
            "taken.py",
            "from msst_jax.registry import register_task\nregister_task('stylizer', print)\n",
            "--import taken.py fails in line 2 (task 'stylizer' is taken by the package (stylizer, any_stylizer, "
            "segmenter); choose",
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_one_line(tmp_path: Path, name: str, text: str | None, message: str):
    if text is not None:
        (tmp_path / name).with_suffix(".py").write_text(text)
    code, printed = run_command([f"--import={name}", "--regions-only"], tmp_path)
    assert code == 2
    assert printed.count("\n") == 1
    assert printed.startswith("stylize.py: ")
    assert message in printed


def test_a_module_on_the_path_is_imported_and_a_file_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    log = tmp_path / "log.txt"
    text = f"import neighbor_of_module\nwith open({str(log)!r}, 'a') as file:\n    file.write('loaded ')\n"
    write_module(tmp_path, "module_on_path.py", text)
    write_module(tmp_path, "neighbor_of_module.py", "")
    import_modules(["module_on_path", "module_on_path"])
    import_modules([str(tmp_path / "module_on_path.py")] * 2)
    assert log.read_text() == "loaded loaded "
    for name in [name for name in sys.modules if name.startswith(("module_on_path", "neighbor_of_module"))]:
        del sys.modules[name]
    with pytest.raises(UserError, match="--import has no value"):
        import_modules([""])
