"""Which network finds the regions, what it sees of a photo, and what one of few classes gives."""

import numpy as np
import pytest
from PIL import Image

from msst_jax import segmentation
from msst_jax.models.deeplab import NAMES, PERSON, DeepLabV3
from msst_jax.segmenters import PERSON_SIDE, SEEN, person_size, preset_size
from tests.pictures import noise
from tests.segmenters import PERSON as PERSON_CLASS
from tests.segmenters import animals, colour_segmenter, painted, person_segmenter


@pytest.mark.parametrize(
    ("photo", "seen"),
    [
        ((640, 427), (384, 256)),
        ((427, 640), (256, 384)),
        ((384, 384), (384, 384)),
        ((100, 75), (384, 288)),
        ((1200, 1190), (384, 384)),
        ((1000, 3), (384, 8)),
    ],
)
def test_the_person_network_sees_the_longer_side_at_384_and_multiples_of_8(photo, seen):
    assert person_size(photo) == seen
    assert segmentation.preprocess(Image.new("RGB", photo), person_size).shape == (seen[1], seen[0], 3)


def test_every_network_sees_what_it_was_trained_on():
    assert [SEEN[name] for name in (*NAMES, PERSON)] == [preset_size, preset_size, preset_size, person_size]
    shapes: list[tuple[int, ...]] = []
    for segmenter in (colour_segmenter(), person_segmenter()):
        model = type(segmenter.model)

        class Watched(model):  # type: ignore[misc, valid-type]
            def __call__(self, images):
                shapes.append(images.shape)
                return super().__call__(images)

        segmentation.class_probabilities(segmenter._replace(model=Watched()), Image.new("RGB", (128, 64)))
    assert shapes == [(1, 520, 1040, 3), (1, PERSON_SIDE // 2, PERSON_SIDE, 3)]


def test_what_the_person_network_sees_is_the_photo_shrunk_without_aliasing():
    photo = Image.fromarray(noise(800, 1200))
    wanted = photo.resize((384, 256), Image.Resampling.BILINEAR)
    back = np.asarray(segmentation.preprocess(photo, person_size)) * (0.229, 0.224, 0.225) + (0.485, 0.456, 0.406)
    np.testing.assert_allclose(back * 255, np.asarray(wanted), atol=1e-3)


def test_two_classes_become_21_with_nothing_in_the_others():
    photo = painted(np.where(animals() == PERSON_CLASS, PERSON_CLASS, 0))
    found = segmentation.class_probabilities(person_segmenter(), Image.fromarray(photo))
    assert found.shape == (60, 80, 21)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[..., [0, PERSON_CLASS]].sum(-1), 1, atol=1e-6)
    assert not np.delete(found, [0, PERSON_CLASS], -1).any()
    assert ((found.argmax(-1) == PERSON_CLASS) == (animals() == PERSON_CLASS)).mean() > 0.99
    assert list(segmentation.found_classes(found)) == ["background", "person"]
    masks = segmentation.region_masks(found, ["person"], min_speck=0.3)
    np.testing.assert_allclose(masks["person"], found[..., PERSON_CLASS], atol=1e-6)


def test_scores_of_deeplab_stand_for_all_classes():
    from flax import nnx

    model = nnx.eval_shape(lambda: DeepLabV3(NAMES[-1], rngs=nnx.Rngs(0)))
    assert model.classes == segmentation.EVERY_CLASS == tuple(range(21))
