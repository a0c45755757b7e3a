"""How many labels, and how many whole sequences, are right."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Int
from mmengine.evaluator import BaseMetric
from torch import Tensor

from paperzoo.registry import METRICS


def right_places(
    pred: Int[Tensor, ' predicted'], truth: Int[Tensor, ' length']
) -> tuple[int, int]:
    """Return how many labels are right and how many there are.

    Args:
        pred: Labels of a sequence, of any length.
        truth: Its true labels; one that is missing in `pred`, and one that is there too
            much, count as wrong.

    Example:
        >>> import torch
        >>> right_places(torch.tensor([1, 2]), torch.tensor([1, 2, 3]))
        (2, 3)
    """
    common = min(len(pred), len(truth))
    right = (pred[:common] == truth[:common]).sum()
    return int(right), max(len(pred), len(truth))


@METRICS.register_module()
class SequenceAccuracy(BaseMetric):
    """Share of right labels and of entirely right sequences, in percent.

    Every number is named after the split: `sequences/test_accuracy`,
    `test_exact_match`, `test_count`. A label for a whole set is a sequence of one.

    Args:
        collect_device: Where the results of all ranks are gathered, 'cpu' or 'gpu'.
        prefix: Put before the names of the numbers instead of 'sequences'.

    Example:
        >>> import torch
        >>> metric = SequenceAccuracy()
        >>> metric.dataset_meta = {'split': 'test'}
        >>> truth, found = torch.tensor([1, 2]), torch.tensor([1, 0])
        >>> metric.process(None, [{'gt_label': truth, 'pred_label': found}])
        >>> metric.compute_metrics(metric.results)
        {'test_accuracy': 50.0, 'test_exact_match': 0.0, 'test_count': 1}
    """

    default_prefix = 'sequences'

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Count a batch of sequences.

        Args:
            data_batch: Not used.
            data_samples: Of each sequence `pred_label` and `gt_label`.
        """
        for sample in data_samples:
            pair = sample['pred_label'].view(-1), sample['gt_label'].view(-1)
            self.results.append(right_places(*pair))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Return the numbers.

        Args:
            results: Of each sequence, right labels and all.
        """
        split = (self.dataset_meta or {}).get('split', 'unnamed')
        right, total = (sum(column) for column in zip(*results, strict=True))
        exact = sum(own == of for own, of in results)
        return {
            f'{split}_accuracy': 100 * right / max(total, 1),
            f'{split}_exact_match': 100 * exact / len(results),
            f'{split}_count': len(results),
        }
