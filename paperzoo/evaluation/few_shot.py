"""Few-shot accuracy with its confidence interval."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from paperzoo.errors import UserError
from paperzoo.registry import METRICS


class Interval(NamedTuple):
    """A mean over episodes, and half the width of its interval."""

    mean: float
    normal: float
    student: float


def mean_interval(
    values: Float[np.ndarray, ' episodes'], level: float = 0.95
) -> Interval:
    """Return a mean and half the width of its confidence interval, in two ways.

    The normal one is z s / sqrt(n), as papers give it; Student's t is right for few
    episodes too. Both say how well the mean over all episodes of this split is known,
    not how much another training would differ.

    Args:
        values: One number of each episode.
        level: Of confidence.

    Example:
        >>> import numpy as np
        >>> found = mean_interval(np.array([40.0, 60.0, 50.0, 50.0]))
        >>> [round(value, 2) for value in found]
        [50.0, 8.0, 12.99]
    """
    from scipy.stats import norm, t  # slow, and needed at the end of a run only

    count = len(values)
    if count < 2:
        return Interval(float(np.mean(values)), float('nan'), float('nan'))
    error = float(np.std(values, ddof=1)) / np.sqrt(count)
    tail = (1 + level) / 2
    return Interval(
        float(np.mean(values)),
        float(norm.ppf(tail) * error),
        float(t.ppf(tail, count - 1) * error),
    )


@METRICS.register_module()
class FewShotAccuracy(BaseMetric):
    """Mean accuracy of episodes in percent, its 95 % interval, accuracy per class.

    Every number is named after the split: `few_shot/test_accuracy`, `test_ci95` (the
    half width, normal), `test_ci95_t`, `test_episodes`, `test_classes`.

    Args:
        split: The split that is to be measured; another one is refused.
        classwise: Also return the accuracy on queries of each class.
        collect_device: Where the results of all ranks are gathered, 'cpu' or 'gpu'.
        prefix: Put before the names of the numbers instead of 'few_shot'.

    Raises:
        UserError: If the data set is of another split.

    Example:
        >>> metric = FewShotAccuracy()
        >>> metric.process(None, [{'gt_label': [0, 1], 'pred_label': [0, 0]}])
        >>> right, classes = metric.results[0]
        >>> right.tolist()
        [True, False]
    """

    default_prefix = 'few_shot'

    def __init__(
        self,
        split: str | None = None,
        classwise: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.split = split
        self.classwise = classwise

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count a batch of episodes.

        Args:
            data_batch: Not used.
            data_samples: Of each episode `pred_label` and `gt_label` of its queries
                and, for the accuracy per class, their `class` in the split.
        """
        for sample in data_samples:
            truth = _array(sample['gt_label'])
            right = _array(sample['pred_label']) == truth
            classes = sample.get('class')
            classes = np.full_like(truth, -1) if classes is None else _array(classes)
            self.results.append((right, classes))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return and log the numbers.

        Args:
            results: Of each episode, whether each query is right, and its class.
        """
        meta = self.dataset_meta or {}
        split, names = meta.get('split', 'unnamed split'), meta.get('classes', ())
        if self.split is not None and split != self.split:
            raise UserError(
                f"FewShotAccuracy(split='{self.split}') was given episodes of the "
                f"split '{split}'. Give data loader and evaluator the same split"
            )
        accuracies = np.array([right.mean() for right, _ in results])
        found = mean_interval(100 * accuracies)
        kind = f'{meta.get("ways", "?")}-way {meta.get("shots", "?")}-shot'
        per_class = _by_class(results, len(names))
        lines = [
            f"Few-shot accuracy on split '{split}' ({len(names)} classes), {kind}, "
            f'{len(accuracies)} episodes: {found.mean:.2f} +- {found.normal:.2f} % '
            f'(95 % interval, normal; Student t: {found.student:.2f})',
            *_extremes(names, per_class),
        ]
        print_log('\n'.join(lines), logger='current')
        numbers = {
            'accuracy': found.mean,
            'ci95': found.normal,
            'ci95_t': found.student,
            'episodes': len(accuracies),
            'classes': len(names),
        }
        if self.classwise:
            pairs = zip(names, per_class.tolist(), strict=True)
            numbers |= {f'class/{name}': value for name, value in pairs}
        return {f'{split}_{name}': value for name, value in numbers.items()}


def _by_class(results: list, count: int) -> Float[np.ndarray, ' classes']:
    """Return the accuracy on queries of each class in percent, NaN without queries."""
    right = np.concatenate([each for each, _ in results])
    classes = np.concatenate([each for _, each in results])
    known = classes >= 0
    asked = np.bincount(classes[known], minlength=count).astype(float)
    correct = np.bincount(classes[known], right[known], minlength=count)
    return 100 * correct / np.where(asked > 0, asked, np.nan)


def _extremes(names: Sequence[str], values: Float[np.ndarray, ' classes']) -> list[str]:
    """Return lines that name the hardest and the easiest classes."""
    order = [i for i in np.argsort(values) if not np.isnan(values[i])]
    if len(names) != len(values) or not order:
        return []
    listed = {'hardest': order[:3], 'easiest': order[:-4:-1]}
    return [
        f'  {kind} classes: '
        + ', '.join(f'{names[index]} {values[index]:.1f}' for index in chosen)
        for kind, chosen in listed.items()
    ]


def _array(value: Any) -> Int[np.ndarray, ' queries']:
    if hasattr(value, 'detach'):
        value = value.detach().cpu().numpy()
    return np.asarray(value)
