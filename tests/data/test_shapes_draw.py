import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperzoo.data.shapes_draw import THING_CLASSES, draw_scene, silhouette


@pytest.mark.parametrize('kind', THING_CLASSES)
def test_silhouette_has_the_area_asked_for_and_fits(kind):
    missed = []
    for seed, side in enumerate(np.geomspace(16, 128, 60)):
        alpha = silhouette(kind, side, np.random.default_rng(seed))
        assert np.sqrt(alpha.sum() / 255) == pytest.approx(side, abs=0.5)
        missed.append(np.sqrt((alpha >= 128).sum()) - side)
        assert max(alpha.shape) <= 240
        border = [alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]]
        assert max(edge.max() for edge in border) < 128
    # A straight edge may round by half a pixel, a frame has eight of them; on average
    # they are where they should be.
    assert max(np.abs(missed)) < 1.5
    assert abs(np.mean(missed)) < 0.5


def test_only_ring_and_frame_have_a_hole():
    for kind in THING_CLASSES:
        alpha = silhouette(kind, 64.0, np.random.default_rng(0))
        contours, _ = cv2.findContours(
            (alpha >= 128).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        assert len(contours) == (2 if kind in ('ring', 'frame') else 1)


@given(seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=25)
def test_scene_keeps_every_object_visible(seed):
    scene = draw_scene(np.random.default_rng(seed), 320, 240)
    visible = np.bincount(scene.objects.ravel() + 1)[1:]
    assert 1 <= len(visible) == len(scene.kinds) == len(scene.full_areas) <= 8
    assert (visible >= 64).all()
    assert (visible >= 0.4 * np.array(scene.full_areas)).all()
    assert visible[-1] == scene.full_areas[-1]  # nothing hides the last object
    assert scene.image.shape == (*scene.stuff.shape, 3) == (240, 320, 3)


def test_scenes_fit_into_the_smallest_images():
    for seed in range(20):
        scene = draw_scene(np.random.default_rng(seed), 240, 240)
        assert scene.objects.shape == (240, 240)
