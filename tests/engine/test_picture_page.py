"""The page of pictures has every picture at its place."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from fake_runner import FakeRunner
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.structures import InstanceData, PixelData
from torch.testing import assert_close

from paperzoo.engine.picture_page import PicturePageHook
from paperzoo.knet.panoptic import boxes_around
from paperzoo.utils.masks import encode
from paperzoo.visualization.drawable import drawable
from paperzoo.visualization.overlays import make_grid


def test_grid_places_pictures_row_by_row() -> None:
    pictures = [
        np.full((h, 10, 3), value, np.uint8) for value, h in ((1, 4), (2, 6), (3, 5))
    ]
    grid = make_grid(pictures, columns=2, gap=2)
    assert grid.shape == ((6 + 2) + (5 + 2), 2 * 12 + 2, 3)
    assert (grid[2:6, 2:12] == 1).all()
    assert (grid[2:8, 14:24] == 2).all()
    assert (grid[10:15, 2:12] == 3).all()
    # Everything else is white.
    assert (grid == 255).sum() == grid.size - 3 * 10 * (4 + 6 + 5)


def test_classes_without_a_colour_are_drawn(tmp_path: Path) -> None:
    image = tmp_path / 'a.png'
    cv2.imwrite(str(image), np.zeros((40, 60, 3), np.uint8))
    visualizer = DetLocalVisualizer()
    classes = ['a', 'b', 'c']
    visualizer.dataset_meta = {'classes': classes, 'palette': [(255, 0, 0)]}
    sample = DetDataSample(metainfo={'img_path': str(image)})
    box = torch.tensor([[5.0, 5.0, 50.0, 30.0]])
    sample.gt_instances = InstanceData(bboxes=box, labels=torch.tensor([2]))
    sample.pred_instances = InstanceData(
        bboxes=box, labels=torch.tensor([1]), scores=torch.tensor([0.9])
    )
    hook = PicturePageHook(str(tmp_path / 'out'))
    runner = FakeRunner(visualizer=visualizer)
    hook.before_test(runner)
    hook.after_test_iter(runner, 0, outputs=[sample])
    assert cv2.imread(str(hook.files[0])).max() > 100


def test_the_page_has_truth_left_and_prediction_right(tmp_path: Path) -> None:
    """Black images, on which the truth has a red and the prediction a green box."""
    image = tmp_path / 'a.png'
    cv2.imwrite(str(image), np.zeros((40, 60, 3), np.uint8))
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = {
        'classes': ['a', 'b'],
        'palette': [(255, 0, 0), (0, 255, 0)],
    }
    box = torch.tensor([[5.0, 5.0, 50.0, 30.0]])
    given = DetDataSample(metainfo={'img_path': str(image)})
    given.gt_instances = InstanceData(bboxes=box, labels=torch.tensor([0]))
    given.pred_instances = InstanceData(
        bboxes=box, labels=torch.tensor([1]), scores=torch.tensor([0.9])
    )
    messages: list[str] = []
    runner = FakeRunner(
        visualizer=visualizer, logger=SimpleNamespace(info=messages.append)
    )
    hook = PicturePageHook(
        str(tmp_path / 'out'), max_images=3, columns=2, pair_width=240
    )
    hook.before_test(runner)
    hook.after_test_iter(runner, 0, outputs=[given, given])
    hook.after_test_iter(runner, 1, outputs=[given, given])
    hook.after_test_epoch(runner)
    names = sorted(file.name for file in hook.out_dir.iterdir())
    assert names == ['000_a.jpg', '001_a.jpg', '002_a.jpg', 'page.png']
    assert str(hook.out_dir / 'page.png') in messages[0]
    page = cv2.imread(str(hook.out_dir / 'page.png')).astype(int)
    drawn = cv2.imread(str(hook.out_dir / '000_a.jpg'))
    height = round(drawn.shape[0] * 240 / drawn.shape[1])
    # Three pairs in two columns: titles of 22 rows, gaps of 8.
    assert page.shape == (2 * (22 + height + 8), 2 * (240 + 8) + 8, 3)
    blue, green, red = page.transpose(2, 0, 1)
    is_red = (red > 120) & (green < 80) & (blue < 80)
    is_green = (green > 120) & (red < 80) & (blue < 80)
    for top, left in ((30, 8), (30, 256), (60 + height, 8)):
        truth = np.s_[top : top + height, left : left + 120]
        prediction = np.s_[top : top + height, left + 120 : left + 240]
        assert is_red[truth].any()
        assert not is_green[truth].any()
        assert is_green[prediction].any()
        assert not is_red[prediction].any()


def sample(masks: torch.Tensor, scores: list[float], ids: list[int]) -> DetDataSample:
    made = DetDataSample(metainfo={'img_path': 'a.jpg'})
    made.pred_instances = InstanceData(masks=masks, scores=torch.tensor(scores))
    made.pred_panoptic_seg = PixelData(sem_seg=torch.tensor(ids).reshape(1, 1, -1))
    return made


def test_empty_predictions_are_not_drawn() -> None:
    """Of masks: an empty one, one of a low score, one to draw."""
    masks = torch.zeros(3, 2, 4, dtype=torch.bool)
    masks[1:, 0] = True
    given = sample(masks, [0.9, 0.1, 0.5], [3, 3, 1002, 1002])
    shown = drawable(given, 0.3, num_classes=3)
    assert shown.pred_instances.scores.tolist() == [0.5]
    assert shown.img_path == 'a.jpg'
    assert 'pred_panoptic_seg' in shown
    assert len(given.pred_instances) == 3

    nothing = drawable(sample(masks[:2], [0.9, 0.1], [3, 3, 3, 3]), 0.3, num_classes=3)
    assert 'pred_instances' not in nothing
    assert 'pred_panoptic_seg' not in nothing


def test_run_length_codes_are_drawn_as_their_masks() -> None:
    masks = torch.zeros(3, 12, 16, dtype=torch.bool)
    masks[1:, 2:9, 3:] = True
    given = DetDataSample(
        pred_instances=InstanceData(
            masks=[encode(mask.numpy()) for mask in masks],
            scores=torch.tensor([0.9, 0.1, 0.5]),
            labels=torch.tensor([0, 1, 1]),
            bboxes=boxes_around(masks),
        )
    )
    shown = drawable(given, 0.3, num_classes=3)
    assert_close(shown.pred_instances.masks, masks[2:])
    assert isinstance(given.pred_instances.masks, list)
    image = np.zeros((12, 16, 3), np.uint8)
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = {'classes': ['a', 'b', 'c'], 'palette': [(9, 9, 9)] * 3}
    visualizer.add_datasample('run lengths', image, shown, draw_gt=False)
    assert visualizer.get_image().any()
    assert 'pred_instances' not in drawable(given, 0.95, num_classes=3)


def test_boxes_are_left_to_the_visualizer() -> None:
    given = DetDataSample()
    given.pred_instances = InstanceData(scores=torch.tensor([0.1, 0.9]))
    assert len(drawable(given, 0.3, num_classes=3).pred_instances) == 2
