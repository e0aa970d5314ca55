"""The weight converter: layout, metadata, reproducibility, --check, and rejected input (nothing is written)."""

import hashlib
import signal
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

from convert_weights import cli
from convert_weights.check import Row, compare, compare_vgg
from convert_weights.layouts import recognize, with_torchvision_names
from convert_weights.networks import NETWORKS
from msst_jax.errors import UserError
from msst_jax.models.vgg import tap_names
from reference.random_networks import State
from tests.helpers.checkpoints import Capture, full_state, refused, saved


# --- converted tensors
def test_kernels_are_transposed_to_hwio_and_the_classifier_is_dropped(tmp_path: Path, output: Path) -> None:
    state = full_state("vgg16")
    checkpoint = saved(tmp_path / "vgg.pth", state)
    assert cli.main(["vgg16", "--from", str(checkpoint), "--output", str(output)]) == 0
    tensors = load_file(output)
    assert set(tensors) == set(NETWORKS["vgg16"].keys.values())
    np.testing.assert_array_equal(tensors["conv1_2.kernel"], state["features.2.weight"].permute(2, 3, 1, 0).numpy())
    np.testing.assert_array_equal(tensors["conv1_2.bias"], state["features.2.bias"].numpy())


def test_legacy_format_of_published_files_is_read(tmp_path: Path, output: Path) -> None:
    model = torch.nn.Module()
    model.weights = torch.nn.ParameterDict({key.replace(".", "/"): value for key, value in full_state("vgg16").items()})
    state = {key.removeprefix("weights.").replace("/", "."): value for key, value in model.named_parameters()}
    torch.save(OrderedDict(state), tmp_path / "vgg.pth", _use_new_zipfile_serialization=False)
    assert cli.main(["vgg16", "--from", str(tmp_path / "vgg.pth"), "--output", str(output), "--quiet"]) == 0
    np.testing.assert_array_equal(load_file(output)["conv1_1.bias"], state["features.0.bias"].detach().numpy())


def test_deepest_and_dtype_determine_the_file_and_its_metadata(tmp_path: Path, output: Path) -> None:
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg19"))
    arguments = ["vgg19", "--from", str(checkpoint), "--output", str(output)]
    assert cli.main([*arguments, "--deepest", "relu2_1", "--dtype", "float16"]) == 0
    tensors = load_file(output)
    assert {name.partition(".")[0] for name in tensors} == {"conv1_1", "conv1_2", "conv2_1"}
    assert {tensor.dtype for tensor in tensors.values()} == {np.dtype(np.float16)}
    with safe_open(output, "numpy") as file:
        assert file.metadata() == {
            "network": "vgg19",
            "deepest": "relu2_1",
            "dtype": "float16",
            "source": "vgg.pth",
            "source_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        }


@pytest.mark.slow
def test_output_is_bit_identical_in_another_process(tmp_path: Path, output: Path) -> None:
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    arguments = ["vgg16", "--from", str(checkpoint), "--deepest", "relu1_2", "--output"]
    assert cli.main([*arguments, str(output)]) == 0
    other = output.with_name("other.safetensors")
    process = subprocess.run(
        [sys.executable, "-W", "error", "-m", "convert_weights", *arguments, str(other)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert process.returncode == 0, process.stderr
    assert f"wrote {other}" in process.stdout
    assert other.read_bytes() == output.read_bytes()


def test_default_output_is_where_msst_jax_reads_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSST_WEIGHTS", str(tmp_path / "weights"))
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    assert cli.main(["vgg16", "--from", str(checkpoint), "--quiet"]) == 0
    assert (tmp_path / "weights" / "vgg16.safetensors").exists()


def test_error_lists_all_problems_and_nothing_is_written(tmp_path: Path, output: Path, capsys: Capture) -> None:
    state = full_state("vgg16")
    del state["features.0.weight"], state["features.28.bias"]
    state["features.99.weight"] = state["surprise"] = torch.zeros(1)
    state["features.2.weight"] = torch.zeros(64, 64, 3, 2)
    state["features.5.bias"] = torch.zeros(129)
    state["features.2.bias"] = torch.full((64,), torch.nan)
    message = refused(capsys, output, "vgg16", "--from", saved(tmp_path / "bad.pth", state))
    for sentence in (
        "features.0.weight is missing",
        "features.28.bias is missing",
        "features.99.weight is not part of the network",
        "surprise is not part of the network",
        "features.2.weight has shape (64, 64, 3, 2), expected (64, 64, 3, 3)",
        "features.5.bias has shape (129,), expected (128,)",
        "features.2.bias holds values that are not finite",
    ):
        assert sentence in message
    assert "classifier" not in message
    assert message.count(";") == 6


def test_checkpoint_of_another_network_is_rejected_in_both_directions(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    message = refused(capsys, output, "vgg16", "--from", saved(tmp_path / "vgg19.pth", full_state("vgg19")))
    assert "features.34.weight is not part of the network" in message
    assert "features.17.weight is missing" in message
    message = refused(capsys, output, "vgg19", "--from", saved(tmp_path / "vgg16.pth", full_state("vgg16")))
    assert "features.34.weight is missing" in message


def test_float16_overflow_is_rejected(tmp_path: Path, output: Path, capsys: Capture) -> None:
    state = full_state("vgg16")
    state["features.0.bias"] = torch.full((64,), 1e6)
    checkpoint = saved(tmp_path / "vgg.pth", state)
    assert "conv1_1.bias overflows float16" in refused(
        capsys, output, "vgg16", "--from", checkpoint, "--dtype", "float16"
    )


# --- layouts of checkpoints
LAYOUTS: dict[str, Callable[[State], Any]] = {
    "features alone": lambda state: {
        key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")
    },
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}},
    "one state dict of another name": lambda state: {"epoch": 3, "model": state},
    "module.": lambda state: {f"module.{key}": value for key, value in state.items()},
    "features alone behind two prefixes, in a state_dict": lambda state: {
        "ema": {"module.x": torch.zeros(1)},
        "state_dict": {
            key.replace("features.", "module.vgg."): value for key, value in state.items() if key.startswith("feat")
        },
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_a_checkpoint_gives_the_same_weights(layout: str, tmp_path: Path, output: Path) -> None:
    state = full_state("vgg16")
    torch.save(LAYOUTS[layout](state), tmp_path / "mine.pth")
    assert cli.main(["vgg16", "--from", str(tmp_path / "mine.pth"), "--output", str(output), "--quiet"]) == 0
    tensors = load_file(output)
    assert set(tensors) == set(NETWORKS["vgg16"].keys.values())
    np.testing.assert_array_equal(tensors["conv1_2.kernel"], state["features.2.weight"].permute(2, 3, 1, 0).numpy())


def test_a_segmenter_behind_a_prefix_is_known_and_its_auxiliary_head_dropped() -> None:
    network = NETWORKS["deeplabv3_mobilenet_v3_large"]
    keys = [*network.keys, "aux_classifier.0.weight", "backbone.0.1.num_batches_tracked"]
    state = {f"module.{key}": np.zeros(1) for key in keys}
    assert recognize(state, "mine.pth") is network
    assert list(with_torchvision_names(state, network, "mine.pth")) == keys


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_tells_which_network_it_holds(name: str) -> None:
    network = NETWORKS[name]
    for prefix in ("", "module."):
        state = {f"{prefix}{key.removeprefix(network.part)}": np.zeros(1) for key in network.keys}
        assert recognize(state, "mine.pth") is network


def test_error_of_an_unknown_layout_says_what_was_found_and_what_was_expected(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    layers = {f"layers.{index}.kernel": torch.zeros(1) for index in range(9)}
    message = refused(capsys, output, "vgg16", "--from", saved(tmp_path / "mine.pth", layers))
    assert (
        "mine.pth holds no vgg16: found 9 tensors (layers.0.kernel, layers.1.kernel, layers.2.kernel, ...)" in message
    )
    assert (
        "expected 26 or more (features.0.weight, features.0.bias, features.2.weight, ... or 0.weight, ...;" in message
    )
    with pytest.raises(
        UserError, match=r"mine.pth holds no network that is known here: found 1 tensors \(a\); give vgg"
    ):
        recognize({"a": np.zeros(1)}, "mine.pth")


def test_a_checkpoint_with_several_state_dicts_is_refused_by_their_names(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    several = {"generator": {"a": torch.zeros(1)}, "teacher": {"b": torch.zeros(1)}}
    message = refused(capsys, output, "vgg16", "--from", saved(tmp_path / "two.pth", several))
    assert "found several state dicts, generator, teacher, none of them called state_dict" in message


def test_a_tensor_that_is_there_with_and_without_the_prefix_is_refused(
    tmp_path: Path, output: Path, capsys: Capture
) -> None:
    state = {f"module.{key}": value for key, value in full_state("vgg16").items()}
    state["features.0.bias"] = torch.zeros(64)
    message = refused(capsys, output, "vgg16", "--from", saved(tmp_path / "twice.pth", state))
    assert "twice.pth has two tensors features.0.bias; save" in message


def test_tensors_beside_the_network_are_named_as_in_the_file(tmp_path: Path, output: Path, capsys: Capture) -> None:
    state = {f"module.{key}": value for key, value in full_state("vgg16").items()}
    state["module.head.weight"] = torch.zeros(1)
    message = refused(capsys, output, "vgg16", "--from", saved(tmp_path / "more.pth", state))
    assert "right file: module.head.weight is not part of the network" in message


# --- --check
def test_check_prints_every_layer_and_passes_good_weights(tmp_path: Path, output: Path, capsys: Capture) -> None:
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    arguments = ["vgg16", "--from", str(checkpoint), "--output", str(output), "--deepest", "conv2_1", "--check"]
    for dtype in ("float32", "float16"):
        assert cli.main([*arguments, "--dtype", dtype]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[1:-1]] == list(tap_names("vgg16", "conv2_1"))
        assert all(line.endswith("yes") for line in lines[1:-1])
    assert output.exists()


def test_check_detects_a_wrong_kernel(tmp_path: Path, output: Path) -> None:
    state = full_state("vgg16")
    checkpoint = saved(tmp_path / "vgg.pth", state)
    assert cli.main(["vgg16", "--from", str(checkpoint), "--output", str(output), "--quiet"]) == 0
    theirs = {key: state[key].clone().numpy() for key in NETWORKS["vgg16"].keys}
    theirs["features.2.weight"] = theirs["features.2.weight"].transpose(0, 1, 3, 2)
    rows = compare_vgg("vgg16", output, theirs, "conv1_2")
    assert [row.ok for row in rows] == [True, True, False]


def test_a_failed_check_exits_with_1_and_writes_nothing(
    tmp_path: Path, output: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [Row("conv1_1", (1, 4, 4, 64), 1e-6, 1.0), Row("relu1_1", (1, 4, 4, 64), 1e-3, 1.0)]
    monkeypatch.setattr(cli, "NETWORKS", {"vgg16": replace(NETWORKS["vgg16"], compare=lambda *_: rows)})
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    assert cli.main(["vgg16", "--from", str(checkpoint), "--output", str(output), "--check"]) == 1
    captured = capsys.readouterr()
    assert [line.split()[-1] for line in captured.out.splitlines()] == ["ok", "yes", "NO"]
    assert captured.err.count("\n") == 1
    assert not list(output.parent.iterdir())


def test_nan_and_wrong_shapes_fail_the_check() -> None:
    good = np.ones((1, 2, 2, 1), np.float32)
    assert compare("x", good, good).ok
    assert compare("x", 0 * good, 0 * good).ok
    assert not compare("x", good * np.nan, good).ok
    assert not compare("x", good, 0 * good).ok
    assert not compare("x", good[:, :1], good).ok


# --- command line
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["vgg15"], "choose from"),
        ([], "NAME"),
        (["vgg16", "--deepest", "relu9_1"], "no layer 'relu9_1'"),
        (["vgg16", "--dtype", "int8"], "float16"),
        (["vgg16", "--form", "x.pth"], "--form"),
    ],
)
def test_bad_arguments_exit_with_2_before_any_download(
    arguments: list[str], message: str, output: Path, capsys: Capture
) -> None:
    assert message in refused(capsys, output, *arguments)


def test_truncated_weights_are_not_written_to_the_default_path(capsys: Capture) -> None:
    assert cli.main(["vgg16", "--from", "none.pth", "--deepest", "relu2_1"]) == 2
    assert "--deepest needs --output" in capsys.readouterr().err


def test_unwritable_output_exits_with_2(tmp_path: Path, capsys: Capture) -> None:
    message = refused(capsys, tmp_path, "vgg16", "--from", "none.pth")
    assert f"is a folder; give a file name such as {tmp_path / 'vgg16.safetensors'}" in message
    (tmp_path / "file").touch()
    assert "cannot write" in refused(capsys, tmp_path / "file" / "out", "vgg16", "--from", "none.pth")


def test_ctrl_c_leaves_no_partial_output(tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "save_tensors", interrupted)
    checkpoint = saved(tmp_path / "vgg.pth", full_state("vgg16"))
    assert cli.main(["vgg16", "--from", str(checkpoint), "--output", str(output)]) == 130
    assert not list(output.parent.iterdir())


def test_what_the_system_refuses_and_sigterm_are_one_line(output: Path, capsys: Capture, monkeypatch) -> None:
    for failure, code in ((lambda: signal.raise_signal(signal.SIGTERM), 143), (Path("/nowhere/x").read_bytes, 2)):
        monkeypatch.setattr(cli, "_run", lambda _args, failure=failure: failure())
        assert cli.main(["vgg16", "--output", str(output)]) == code
        assert capsys.readouterr().err.count("\n") == 1


def test_the_version_is_printed(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--version"])
    assert capsys.readouterr().out.startswith("msst_jax ")


# --- importing torchvision
def run_in_subprocess(code: str, cwd: Path, path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(path)!r}); {code}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    assert process.returncode == 0, process.stderr


def test_torchvision_can_be_imported_twice_with_warnings_as_errors(tmp_path: Path) -> None:
    code = (
        "from convert_weights.torch_compat import import_torchvision as get; first = get(); assert get() is first; "
        "assert sys.modules['torchvision'] is first; first.models.vgg16"
    )
    run_in_subprocess(code, tmp_path, Path(__file__).parents[2])


def test_operators_of_a_matching_torchvision_are_not_declared_again(tmp_path: Path) -> None:
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "library.define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
    )
    code = (
        f"sys.path.insert(1, {str(Path(__file__).parents[2])!r}); "
        "from convert_weights.torch_compat import import_torchvision as get; assert get().library"
    )
    run_in_subprocess(code, tmp_path, tmp_path)
