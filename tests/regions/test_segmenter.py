"""Which network segments the regions, at which sizes it runs, and how networks with few classes are handled."""

import logging
from pathlib import Path

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from msst_jax.errors import UserError
from msst_jax.models import pretrained
from msst_jax.models.deeplab import LITE_NETWORK, PERSON_NETWORK, TORCHVISION_NETWORKS, DeepLabV3
from msst_jax.models.serialization import save_tensors
from msst_jax.regions import inference, selection
from msst_jax.regions.segmenter import (
    INFERENCE_SCALES,
    PERSON_SIDES,
    best_available,
    load_segmenter,
    longer_side_size,
    preset_size,
)
from tests.helpers.pictures import noise
from tests.helpers.segmenters import PERSON as PERSON_CLASS
from tests.helpers.segmenters import (
    PersonSegmenter,
    animals,
    colour_segmenter,
    convert,
    converted,
    fake_networks,
    painted,
    person_segmenter,
)


@pytest.mark.parametrize(
    ("photo", "size"),
    [
        ((640, 427), (384, 256)),
        ((427, 640), (256, 384)),
        ((384, 384), (384, 384)),
        ((100, 75), (384, 288)),
        ((1200, 1190), (384, 384)),
        ((1000, 3), (384, 16)),
    ],
)
def test_the_person_network_gets_multiples_of_its_stride(photo, size):
    scale = INFERENCE_SCALES[PERSON_NETWORK][0]
    assert scale(photo) == longer_side_size(photo, 384) == size
    assert inference.preprocess(Image.new("RGB", photo), scale).shape == (size[1], size[0], 3)


def test_every_network_gets_the_input_sizes_of_its_training():
    assert [INFERENCE_SCALES[name] for name in TORCHVISION_NETWORKS] == [(preset_size,)] * 3
    shapes: list[tuple[int, ...]] = []
    for segmenter in (colour_segmenter(), person_segmenter()):
        model = type(segmenter.model)

        class Recording(model):  # type: ignore[misc, valid-type]
            def __call__(self, images):
                shapes.append(images.shape)
                return super().__call__(images)

        inference.class_probabilities(segmenter._replace(model=Recording()), Image.new("RGB", (128, 64)))
    assert shapes == [(1, 520, 1040, 3), *((1, side // 2, side, 3) for side in PERSON_SIDES)]


def test_scores_are_averaged_over_the_inference_scales():
    photo, segmenter = Image.fromarray(noise(60, 90)), person_segmenter()
    single = [inference.class_probabilities(segmenter._replace(scales=(scale,)), photo) for scale in segmenter.scales]
    logits = [np.log(found[..., PERSON_CLASS] / found[..., 0]) for found in single]
    expected = 1 / (1 + np.exp(-np.mean(logits, 0)))
    assert len(single) == len(PERSON_SIDES)
    assert np.abs(single[0] - single[1]).max() > 0.01
    both = inference.class_probabilities(segmenter, photo)
    np.testing.assert_allclose(both[..., PERSON_CLASS], expected, atol=1e-5)


def test_the_photo_is_downscaled_for_the_person_network_without_aliasing():
    photo = Image.fromarray(noise(800, 1200))
    wanted = photo.resize((384, 256), Image.Resampling.BILINEAR)
    back = np.asarray(inference.preprocess(photo, INFERENCE_SCALES[PERSON_NETWORK][0])) * (0.229, 0.224, 0.225) + (
        0.485,
        0.456,
        0.406,
    )
    np.testing.assert_allclose(back * 255, np.asarray(wanted), atol=1e-3)


def test_two_classes_become_21_and_the_others_are_zero():
    photo = painted(np.where(animals() == PERSON_CLASS, PERSON_CLASS, 0))
    found = inference.class_probabilities(person_segmenter(), Image.fromarray(photo))
    assert found.shape == (60, 80, 21)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., [0, PERSON_CLASS]].sum(-1), 1, atol=1e-6)
    assert not np.delete(found, [0, PERSON_CLASS], -1).any()
    assert ((found.argmax(-1) == PERSON_CLASS) == (animals() == PERSON_CLASS)).mean() > 0.99
    assert list(selection.class_fractions(found)) == ["background", "person"]
    masks = selection.region_masks(found, ["person"], min_speck=0.3)
    np.testing.assert_allclose(masks["person"], found[..., PERSON_CLASS], atol=1e-6)


def test_deeplab_scores_cover_all_classes():
    model = nnx.eval_shape(lambda: DeepLabV3(TORCHVISION_NETWORKS[-1], rngs=nnx.Rngs(0)))
    assert model.classes == inference.ALL_CLASSES == tuple(range(21))


def test_the_default_is_the_best_converted_network_or_else_the_embedded_one(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    fake_networks(monkeypatch)
    taken = [load_segmenter("").name]
    for name in reversed(TORCHVISION_NETWORKS):
        convert(name)
        assert best_available() == name
        taken.append(load_segmenter("").name)
    assert taken == [LITE_NETWORK, *reversed(TORCHVISION_NETWORKS)]
    assert caplog.messages == [
        "segmenter: deeplabv3_efficientnet_lite0, which is small; for finer masks: "
        "`python -m msst_jax.convert_weights deeplabv3_resnet101`",
        *(f"segmenter: {name}" for name in reversed(TORCHVISION_NETWORKS)),
    ]


def test_a_named_network_takes_precedence_over_better_ones(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    loaded = converted(monkeypatch)
    segmenter = load_segmenter(PERSON_NETWORK, ["person"])
    assert loaded == [PERSON_NETWORK]
    assert segmenter.record() == {"name": PERSON_NETWORK, "weights": "person_vgg16.safetensors"}
    assert segmenter.scales == INFERENCE_SCALES[PERSON_NETWORK]
    assert caplog.messages == ["segmenter: person_vgg16"]


@pytest.mark.parametrize(
    ("wanted", "instead", "message"),
    [
        (["dog"], "", "person_vgg16 segments only person, not dog; {take}, or give --mask dog=FILE"),
        (["person", "dog", "cat"], "", "person_vgg16 segments only person, not dog, cat; {take}, or give {dog} {cat}"),
        (
            ["person+dog"],
            "",
            "person_vgg16 segments only person, not person+dog; {take}, or give --mask person+dog=FILE",
        ),
        (["dog"], "--masks DIR", "person_vgg16 segments only person, not dog; {take}, or give --masks DIR"),
    ],
)
def test_an_unknown_region_is_a_one_line_error_with_the_alternatives(monkeypatch, wanted, instead, message):
    fake_networks(monkeypatch)
    with pytest.raises(UserError) as raised:
        load_segmenter(PERSON_NETWORK, wanted, instead=instead)
    take = "use deeplabv3_efficientnet_lite0 or deeplabv3_resnet101"
    assert str(raised.value) == message.format(take=take, dog="--mask dog=FILE", cat="--mask cat=FILE")


def test_a_weight_file_or_a_training_workdir_can_be_the_segmenter(tmp_path: Path, monkeypatch, caplog):
    loaded: list[Path | None] = []

    def load(name: str, *, path: Path | None = None):
        loaded.append(path)
        return PersonSegmenter(), path

    monkeypatch.setattr(pretrained, "load_deeplab", load)
    save_tensors(tmp_path / "model.safetensors", {"a": np.zeros(1)}, {"network": PERSON_NETWORK})
    for name in (tmp_path, tmp_path / "model.safetensors"):
        segmenter = load_segmenter(str(name), ["person"])
        assert segmenter.record() == {"name": PERSON_NETWORK, "weights": "model.safetensors"}
        assert segmenter.scales == INFERENCE_SCALES[PERSON_NETWORK]
    assert loaded == [tmp_path / "model.safetensors"] * 2


def test_an_unusable_segmenter_is_rejected(tmp_path: Path):
    with pytest.raises(UserError, match=r"is none of deeplabv3_resnet101, .* cannot be read .* give one of them, "):
        load_segmenter("yolo")
    save_tensors(tmp_path / "model.safetensors", {"a": np.zeros(1)}, {"network": "stylizer"})
    with pytest.raises(UserError, match="holds weights of stylizer; use one of deeplabv3_resnet101, "):
        load_segmenter(str(tmp_path))
    save_tensors(tmp_path / "model.safetensors", {"a": np.zeros(1)}, {})
    with pytest.raises(UserError, match="holds weights of no named network"):
        load_segmenter(str(tmp_path))


def test_damaged_weights_are_a_one_line_error():
    path = pretrained.converted_path("deeplabv3_resnet101")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"nothing")
    with pytest.raises(
        UserError, match=r"^weights \S+ are damaged \([^\n]*; or do without it: give --mask person=FILE"
    ):
        load_segmenter("deeplabv3_resnet101", ["person"])
