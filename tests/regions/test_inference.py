"""Segmentation by a network: preprocessing, probabilities, and agreement with torchvision."""

from pathlib import Path

import jax
import numpy as np
import pytest
import torch
from PIL import Image

from convert_weights import cli
from msst_jax.errors import UserError
from msst_jax.io import images
from msst_jax.models import pretrained
from msst_jax.models.deeplab import TORCHVISION_NETWORKS
from msst_jax.regions.inference import class_probabilities, preprocess
from msst_jax.regions.segmenter import SHORT_SIDE, load_segmenter
from reference.torchvision_compat import torchvision
from tests.helpers.pictures import noise
from tests.helpers.segmenters import ColourSegmenter, colour_segmenter

PUBLISHED = torchvision.models.segmentation.DeepLabV3_ResNet101_Weights.DEFAULT
SIZES = [(427, 640), (333, 500), (701, 300), (520, 600), (1200, 900), (65, 97)]


def torch_preset(picture: Image.Image) -> np.ndarray:
    return PUBLISHED.transforms()(picture).permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_preprocessing_equals_torchvisions_preset(height: int, width: int):
    photo = noise(height, width)
    wanted = torch_preset(Image.fromarray(photo))
    assert min(wanted.shape[:2]) == SHORT_SIDE
    np.testing.assert_allclose(preprocess(Image.fromarray(photo)), wanted, atol=1e-5)
    np.testing.assert_allclose(preprocess(photo.astype(np.float32) / 255), wanted, atol=1e-5)


def test_a_strip_that_would_exhaust_memory_is_rejected():
    with pytest.raises(UserError, match=r"^the photo is 901x100, too long a strip .*at most 8 to 1\); crop it, or"):
        preprocess(Image.new("RGB", (901, 100)))
    assert preprocess(Image.new("RGB", (100, 800))).shape == (4160, 520, 3)


@pytest.mark.parametrize("size", [None, (320, 240), (1000, 300), (64, 48)])
def test_scores_are_resized_like_torch_and_become_probabilities(size: tuple[int, int] | None):
    photo = Image.fromarray(noise(480, 640))
    model = ColourSegmenter(sharpness=5.0)
    found = class_probabilities(colour_segmenter(model), photo, size)
    width, height = size or photo.size
    assert found.shape == (height, width, 21)
    scores = torch.from_numpy(np.array(model(torch_preset(photo)[None]))).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(scores, (height, width), mode="bilinear", align_corners=False)
    np.testing.assert_allclose(found, resized.softmax(1)[0].permute(1, 2, 0), atol=1e-4)
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_the_network_is_compiled_once_for_all_photos_of_one_shape():
    traced: list[tuple[int, ...]] = []

    class Recording(ColourSegmenter):
        def __call__(self, images: jax.Array) -> jax.Array:
            traced.append(images.shape)
            return super().__call__(images)

    recording = colour_segmenter(Recording())
    for photo, size in (((100, 75), None), ((200, 150), None), ((200, 150), (64, 48))):
        class_probabilities(recording, Image.new("RGB", photo), size)
    assert traced == [(1, 520, 693, 3)]


PHOTOS = 5
AGREEMENT = 0.999


def confident_network(name: str, photos: list[Image.Image]) -> torch.nn.Module:
    """torchvision's network with random weights, but scores as confident as a trained network's.

    Its batch statistics are those of a photo, so that no layer saturates; the last layer is shifted and scaled so
    that several classes are found in a photo.
    """
    torch.manual_seed(0)
    net = getattr(torchvision.models.segmentation, name)(weights=None, weights_backbone=None, aux_loss=True)
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    net.train().classifier[0].convs[4].eval()  # the pooled image is a single pixel: it has no statistics
    torch_scores(net, photos[0])
    with torch.no_grad():
        last = net.eval().classifier[4]
        scores = torch.cat([torch_scores(net, photo).flatten(2)[0] for photo in photos[:2]], 1)
        scale = 5 / scores.std(1)
        last.weight *= scale[:, None, None, None]
        last.bias.copy_((last.bias - scores.mean(1)) * scale)
    return net


def torch_scores(net: torch.nn.Module, picture: Image.Image) -> torch.Tensor:
    """torchvision's scores (1, 21, h, w) at the size of its preset."""
    with torch.no_grad():
        return net(PUBLISHED.transforms()(picture)[None])["out"]


@pytest.mark.slow
@pytest.mark.parametrize("name", TORCHVISION_NETWORKS)
def test_segmentation_of_a_photo_agrees_with_torchvision(name: str, shared: Path, tmp_path: Path):
    files = sorted((shared / "data" / "voc21" / "images").glob("*.jpg"))[::60][:PHOTOS]
    photos = [Image.open(file).convert("RGB") for file in files]
    net = confident_network(name, photos)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    output = pretrained.converted_path(name)
    assert cli.main([name, "--from", str(tmp_path / "net.pth"), "--output", str(output), "--check"]) == 0
    ours = load_segmenter(name)
    for file, photo in zip(files, photos, strict=True):
        scores = torch_scores(net, photo)
        resized = torch.nn.functional.interpolate(scores, photo.size[::-1], mode="bilinear", align_corners=False)
        wanted = resized[0].argmax(0).numpy()
        found = class_probabilities(ours, images.read_picture(file)).argmax(-1)
        agreement = (found == wanted).mean()
        print(f"{file.name}: {agreement:.4%} of {wanted.size} pixels, {len(np.unique(wanted))} classes")
        assert agreement >= AGREEMENT
        assert len(np.unique(wanted)) > 2
