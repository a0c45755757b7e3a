"""The pictures of `paperzoo explain` during a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

from paperzoo.errors import UserError
from paperzoo.explain.api import evaluating, sample_loader
from paperzoo.explain.html.raster import pixels_of
from paperzoo.explain.pages import sections
from paperzoo.registry import HOOKS
from paperzoo.utils.wrappers import unwrap_model


@HOOKS.register_module()
class ExplainHook(Hook):
    """Put the pictures of fixed samples into the visualizer while training.

    Each section of the page that `paperzoo explain` writes becomes one image, so that
    TensorBoard's slider shows how a matching settles. Tables are left out.

    Args:
        images: Files; `data/...` follows `$PAPERZOO_DATA`, as in a config.
        items: Of a model of episodes or sequences: which of the test set.
        interval: How often, in epochs or iterations.
        by_epoch: Which of the two.
        score_thr: Predictions below it are left out.

    Raises:
        UserError: If not exactly one of `images` and `items` is given.

    Example:
        >>> hook = dict(type='paperzoo.ExplainHook', items=[0, 1], interval=5)
        >>> HOOKS.build(hook).interval
        5
    """

    priority = 'LOW'

    def __init__(
        self,
        images: Sequence[str] = (),
        *,
        items: Sequence[int] = (),
        interval: int = 1,
        by_epoch: bool = True,
        score_thr: float = 0.3,
    ) -> None:
        if bool(images) == bool(items):
            raise UserError(
                f'ExplainHook(images={list(images)}, items={list(items)}): give '
                "one of the two, such as images=['data/shapes/val/000001.jpg']"
            )
        self.images = images
        self.items = items
        self.interval = interval
        self.by_epoch = by_epoch
        self.score_thr = score_thr
        self._samples: list[Any] = []

    def before_train(self, runner: Runner) -> None:
        """Load the samples."""
        self._load(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Draw, if it is time."""
        if self.by_epoch and self.every_n_epochs(runner, self.interval):
            self._draw(runner, runner.epoch + 1)

    def after_train_iter(self, runner: Runner, *_: Any, **__: Any) -> None:
        """Draw, if it is time."""
        if not self.by_epoch and self.every_n_train_iters(runner, self.interval):
            self._draw(runner, runner.iter + 1)

    @master_only
    def _load(self, runner: Runner) -> None:
        given, load = sample_loader(
            unwrap_model(runner.model),
            runner.cfg,
            self.images,
            items=self.items,
            score_thr=self.score_thr,
        )
        self._samples = [load(one) for one in given]

    @master_only
    def _draw(self, runner: Runner, step: int) -> None:
        model = unwrap_model(runner.model)
        with evaluating(model):
            for place, sample in enumerate(self._samples, 1):
                for number, section in enumerate(sections(model, sample), 1):
                    pixels = pixels_of(section)
                    if pixels is not None:
                        stem = Path(sample.name).stem
                        name = _tag(f'{place} {number} {stem} {section.title}')
                        runner.visualizer.add_image(name, pixels, step)


def _tag(text: str) -> str:
    """Return a text that can be a file's name, as the backends want it."""
    kept = ''.join(letter if letter.isalnum() else ' ' for letter in text)
    return '_'.join(kept.split())[:60]
