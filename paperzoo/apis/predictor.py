"""What calls a model with images: reads, prepares, runs, and gives results."""

from collections.abc import Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.build import default_scope
from paperzoo.apis.config import class_names, image_pipeline, palette
from paperzoo.apis.fusing import fused
from paperzoo.apis.image_model import ImageModel, attempted
from paperzoo.apis.images import check_image_file, file_of, pixels_of
from paperzoo.apis.results import Result
from paperzoo.errors import UserError
from paperzoo.utils.families import family

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn


class Predictor(ImageModel):
    """A model with the pipeline that its images go through; `load` makes one.

    Several threads may call it at a time. A call changes nothing outside of it.

    Args:
        model: For detection, instance, panoptic or semantic segmentation, in evaluation
            mode, with its weights.
        cfg: Its config.
        meta: Of its checkpoint, for the names of the classes.
        score: Objects that score lower are left out of the results.
        precision: As of `load`.
        fuse: As of `load`.

    Raises:
        UserError: If the device has no such precision, the model has another task, or
            nothing says the class names.
    """

    def __init__(
        self,
        model: 'nn.Module',
        cfg: 'Config',
        meta: dict,
        *,
        score: float = 0.3,
        precision: str = 'float32',
        fuse: bool = False,
    ) -> None:
        from mmengine.dataset import Compose

        if family(model) is None:
            raise UserError(
                f'model.type is {type(model).__name__}, no model of mmdet or mmseg: '
                'only these, few-shot models and models of sequences are called here'
            )
        self.classes = class_names(cfg, meta)
        self.palette = palette(cfg, meta)
        self._prepare(model, cfg, score, precision, fuse)
        with default_scope(cfg):
            self.pipeline = Compose(image_pipeline(cfg))

    def _prepare(
        self,
        model: 'nn.Module',
        cfg: 'Config',
        score: float,
        precision: str,
        fuse: bool,
    ) -> None:
        from paperzoo.utils.precision import precision_on

        self.cfg = cfg
        self.score = score
        self.precision = precision_on(next(model.parameters()).device.type, precision)
        _follow_hooks(model, cfg)
        self.model: Any = fused(model) if fuse else model

    def attempt(
        self, images: Sequence[Any], *, score: float | None = None
    ) -> list[Result | Exception]:
        """Return for each image the result, or why there is none.

        Images of one size go through the model together.

        Args:
            images: As of a call.
            score: Objects that score lower are left out; by default the model's.
        """
        found = attempted(self._prepared, images)
        whole = [n for n, one in enumerate(found) if not isinstance(one, Exception)]
        for _, numbers in groupby(whole, lambda n: tuple(found[n][1]['inputs'].shape)):
            own = list(numbers)
            results = self._together([found[n] for n in own], score)
            for number, result in zip(own, results, strict=True):
                found[number] = result
        return found

    def _together(
        self, prepared: list[tuple[Any, dict[str, Any]]], score: float | None
    ) -> list[Result | Exception]:
        threshold = self.score if score is None else score
        try:
            samples = self._run([data for _, data in prepared])
            return [
                # Results are kept; the memory of a GPU is small.
                self._result(sample.cpu(), shown, threshold)
                for (shown, _), sample in zip(prepared, samples, strict=True)
            ]
        except Exception as error:
            if len(prepared) == 1:
                return [error]
            return [one for each in prepared for one in self._together([each], score)]

    def _result(self, sample: Any, shown: Any, score: float) -> Result:
        return Result(sample, self.classes, shown, score, palette=self.palette)

    def _run(self, data: list[dict[str, Any]]) -> list[Any]:
        import torch

        batch = {key: [one[key] for one in data] for key in ('inputs', 'data_samples')}
        with torch.no_grad(), self._numbers():
            return self.model.test_step(batch)

    def _numbers(self) -> Any:
        import torch

        if self.precision == 'float32':
            return nullcontext()
        kind = next(self.model.parameters()).device.type
        return torch.autocast(kind, dtype=getattr(torch, self.precision))

    def __repr__(self) -> str:
        """Return the model's class, its number of classes and its device."""
        device = next(self.model.parameters()).device
        name = f'{type(self).__name__}({type(self.model).__name__}'
        return f'{name}, {len(self.classes)} classes, on {device})'

    def _prepared(self, image: Any) -> tuple[Path | NDArray[np.uint8], dict[str, Any]]:
        """Return the image as results keep it, and what the pipeline makes of it."""
        file = file_of(image)
        if file is not None:
            check_image_file(file)
            return file, self.pipeline({'img_path': str(file), 'img_id': 0})
        pixels = pixels_of(image)
        return pixels, self._after_reading(pixels)

    def _after_reading(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        from mmcv.transforms import LoadImageFromFile

        first, *others = self.pipeline.transforms
        if not isinstance(first, LoadImageFromFile):
            raise UserError(
                f'{self.cfg.filename}: the test pipeline begins with '
                f'{type(first).__name__}: only files go through it, no arrays'
            )
        pixels = np.ascontiguousarray(image)
        data: Any = {
            'img': pixels.astype(np.float32) if first.to_float32 else pixels,
            'img_path': None,
            'img_id': 0,
            'img_shape': image.shape[:2],
            'ori_shape': image.shape[:2],
        }
        for transform in others:
            data = transform(data)
        return data


def _follow_hooks(model: 'nn.Module', cfg: 'Config') -> None:
    """Do to a model what the hooks of its config do before a run."""
    if any('ChannelsLastHook' in str(one.get('type')) for one in _hooks(cfg)):
        from paperzoo.engine.memory_format import keep_channels_last

        keep_channels_last(model)


def _hooks(cfg: 'Config') -> list[Any]:
    return [one for one in cfg.get('custom_hooks') or [] if isinstance(one, dict)]
