"""One image as a model gets it, with its truth where the config's data sets know it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dataset import Compose
from numpy.typing import NDArray
from torch import Tensor, nn

from paperzoo.apis.build import build_dataset, default_scope
from paperzoo.apis.config import dataset_config, image_pipeline, type_name
from paperzoo.apis.images import check_image_file, pixels_of
from paperzoo.data.paths import resolve
from paperzoo.evaluation.results import has_truth
from paperzoo.preflight.build_errors import spelling_explained

if TYPE_CHECKING:
    from mmengine.config import Config


@dataclass(frozen=True)
class Sample:
    """What a page of `paperzoo explain` looks at.

    Args:
        image: `uint8 (H, W, 3)`, RGB, of the size that the network sees, not padded.
        inputs: `(1, 3, H', W')`, normalised and padded.
        data_sample: A DetDataSample or SegDataSample, its truth in the pixels of
            `inputs`.
        class_names: Names of the classes.
        name: Of the file.
        score_thr: Predictions below it are left out of the pictures.
    """

    image: NDArray
    inputs: Tensor
    data_sample: Any
    class_names: tuple[str, ...]
    name: str
    score_thr: float = 0.3

    @property
    def annotated(self) -> bool:
        """Whether the truth is known."""
        return has_truth(self.data_sample.to_dict())


class SampleLoader:
    """Turns image files into samples of a model.

    An image that lies in one of the config's data sets comes with its annotations, any
    other without.

    Args:
        cfg: The config.
        model: Its model.
        class_names: Names of the classes.
        score_thr: Predictions below it are left out of the pictures.
    """

    def __init__(
        self,
        cfg: 'Config',
        model: nn.Module,
        class_names: tuple[str, ...],
        score_thr: float = 0.3,
    ) -> None:
        self.cfg = cfg
        self.model = model
        self.class_names = class_names
        self.score_thr = score_thr
        with default_scope(cfg), spelling_explained(cfg):
            self.pipeline = Compose(image_pipeline(cfg))
        self._sets: dict[str, Any] = {}

    def __call__(self, file: Path) -> Sample:
        """Return the sample of an image.

        Raises:
            UserError: If the file is damaged or no image.
        """
        check_image_file(file)
        try:
            item = self._annotated(file)
            if item is None:
                item = self.pipeline({'img_path': str(file), 'img_id': 0})
        except Exception:
            pixels_of(file)  # If it is the image's fault, this says so.
            raise
        # OpenCV reads BGR.
        image = item['inputs'].flip(0).permute(1, 2, 0).contiguous().numpy()
        batch = {key: [item[key]] for key in ('inputs', 'data_samples')}
        preprocessor: Any = self.model.data_preprocessor
        with torch.no_grad():
            batch = preprocessor(batch, training=False)
        samples = batch['data_samples']
        # In a test mmdet leaves the truth unpadded, which the losses cannot take.
        if 'masks' in samples[0].get('gt_instances', ()):
            preprocessor.pad_gt_masks(samples)
        if 'gt_sem_seg' in samples[0] and hasattr(preprocessor, 'pad_gt_sem_seg'):
            preprocessor.pad_gt_sem_seg(samples)
        return Sample(
            image=image,
            inputs=batch['inputs'],
            data_sample=samples[0],
            class_names=self.class_names,
            name=file.name,
            score_thr=self.score_thr,
        )

    def _annotated(self, file: Path) -> dict | None:
        """Return what the pipeline gives for an image of one of the data sets."""
        for data, places in self._data_sets(file.resolve()):
            for index, path in places.get(file.name, ()):
                if file.samefile(path):
                    return data[index]
        return None

    def _data_sets(self, file: Path) -> Iterator[tuple[Any, dict]]:
        """Yield the data sets above a file, each with the places of its files."""
        for split in ('test', 'val', 'train'):
            spec = dataset_config(self.cfg, split)
            root = spec.get('data_root')
            # Large annotation files are not read for a foreign image.
            if not root or not file.is_relative_to(Path(resolve(root)).resolve()):
                continue
            if split not in self._sets:
                own = {**spec, 'pipeline': _truth_first(self.cfg), 'test_mode': True}
                data = build_dataset(self.cfg, split, own)
                # Once: each look at a record unpickles it.
                places: dict[str, list[tuple[int, str]]] = {}
                for index in range(len(data)):
                    path = data.get_data_info(index)['img_path']
                    places.setdefault(Path(path).name, []).append((index, path))
                self._sets[split] = data, places
            yield self._sets[split]


def _truth_first(cfg: 'Config') -> list[dict]:
    """Return the test pipeline, in which the truth is resized with the image.

    Tests load it after resizing, as the metrics count in the pixels of the file.
    """
    steps = list(image_pipeline(cfg))
    for split in ('test', 'train'):
        given = dataset_config(cfg, split).get('pipeline') or []
        loads = [step for step in given if 'Annotations' in type_name(step['type'])]
        if loads:
            return [steps[0], *loads, *steps[1:]]
    return steps
