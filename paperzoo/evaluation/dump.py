"""A metric that measures nothing: it writes what was found, and the truth, as JSON."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.fileio import dump
from mmengine.logging import print_log

from paperzoo.errors import UserError
from paperzoo.evaluation.results import (
    categories,
    found_records,
    has_truth,
    kind_of,
    truth_records,
)
from paperzoo.registry import METRICS
from paperzoo.utils.files import write_json, write_safely


@METRICS.register_module()
class DumpRecords(BaseMetric):
    """Write predictions and truth of a test as JSON, for `paperzoo analyze`.

    Unlike MMEngine's `DumpResults` it writes no pickle, which would run code when it is
    read. The truth is what the test pipeline has loaded.

    Args:
        out_file: Where to write; an earlier file is never replaced.
        collect_device: As of every metric.
        collect_dir: As of every metric.

    Example:
        >>> import tempfile
        >>> metric = DumpRecords(f'{tempfile.mkdtemp()}/results.json')
        >>> metric.dataset_meta = {'classes': ('cat', 'dog')}
        >>> metric.evaluate(0)
        {}
        >>> metric.out_file.exists()
        True
    """

    def __init__(
        self,
        out_file: str,
        *,
        collect_device: str = 'cpu',
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, collect_dir=collect_dir)
        self.out_file = Path(out_file)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the records of a batch.

        Args:
            data_batch: Of episodes, for the numbers of their images and classes.
            data_samples: Samples with predictions, as dicts.
        """
        classes = tuple((self.dataset_meta or {}).get('classes') or ())
        if data_samples and 'pred_label' in data_samples[0]:
            self._keep_episodes(data_batch, data_samples)
            return
        for sample in data_samples:
            height, width = sample['ori_shape'][:2]
            self.results.append(
                {
                    'kind': kind_of(sample),
                    'image': {
                        'file_name': str(sample.get('img_path', '')),
                        'width': width,
                        'height': height,
                    },
                    'annotations': found_records(sample, classes),
                    'truth': truth_records(sample, classes)
                    if has_truth(sample)
                    else None,
                }
            )

    def _keep_episodes(self, batch: Any, samples: Sequence[dict]) -> None:
        if not isinstance(batch, dict):  # episodes, as the loop of episodes gives them
            batch = {
                'query_index': [episode.query for episode in batch],
                'episode_class': [episode.classes for episode in batch],
            }
        if 'query_index' not in batch:
            raise UserError(
                '--out: only episodes of a data set in test mode say which images they '
                'are made of: test_dataloader.dataset.test_mode=True'
            )
        for number, sample in enumerate(samples):
            classes = batch['episode_class'][number].tolist()
            self.results.append(
                {
                    'query': batch['query_index'][number].tolist(),
                    'found': [classes[k] for k in sample['pred_label'].tolist()],
                    'truth': [classes[k] for k in sample['gt_label'].tolist()],
                }
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Write the file; there is no number.

        Args:
            results: What `process` collected, of all processes.
        """
        if results and 'query' in results[0]:
            answers = episode_records(results, self.dataset_meta or {})
            file = write_json(self.out_file, answers, one_a_line=True)
            print_log(f'Answers and truth: {file.absolute()}', logger='current')
            return {}
        classes = tuple((self.dataset_meta or {}).get('classes') or ())
        known = all(result['truth'] is not None for result in results)
        written: dict[str, Any] = {
            'kind': results[0]['kind'] if results else 'unknown',
            'images': [],
            'categories': categories(classes),
            'annotations': [],
            'truth': [] if known else None,
        }
        for number, result in enumerate(results, start=1):
            written['images'].append({'id': number, **result['image']})
            for key in ('annotations', 'truth') if known else ('annotations',):
                written[key] += [{'image_id': number, **row} for row in result[key]]
        file = write_json(self.out_file, written, one_a_line=True)
        print_log(f'Predictions and truth: {file.absolute()}', logger='current')
        return {}


def episode_records(results: list, meta: dict[str, Any]) -> dict[str, Any]:
    """Return the answers of a test of episodes: a row for each query of an episode.

    Args:
        results: Of each episode the numbers of its images (`query`), and their classes
            as `found` and as in `truth`.
        meta: Of the data set: `classes` and `files`.

    Example:
        >>> from paperzoo.evaluation.dump import episode_records
        >>> one = {'query': [7, 3], 'found': [0, 1], 'truth': [0, 0]}
        >>> written = episode_records([one], {'classes': ('cat', 'dog')})
        >>> [image['id'] for image in written['images']], written['annotations'][1]
        ([3, 7], {'image_id': 3, 'episode': 0, 'category_id': 1})
    """
    used = sorted({number for one in results for number in one['query']})
    files = meta.get('files') or {}
    rows: dict[str, list[dict[str, int]]] = {'annotations': [], 'truth': []}
    for episode, one in enumerate(results):
        for number, found, truth in zip(
            one['query'], one['found'], one['truth'], strict=True
        ):
            place = {'image_id': number, 'episode': episode}
            rows['annotations'].append({**place, 'category_id': found})
            rows['truth'].append({**place, 'category_id': truth})
    return {
        'kind': 'episodes',
        'images': [
            {'id': number, 'file_name': files[number] if files else f'image {number}'}
            for number in used
        ],
        'categories': categories(meta.get('classes') or ()),
        **rows,
    }


@METRICS.register_module()
class DumpPickle(DumpResults):
    """MMEngine's `DumpResults`, which under its name leaves a whole file or none.

    Example:
        >>> import tempfile
        >>> metric = DumpPickle(f'{tempfile.mkdtemp()}/results.pkl')
        >>> metric.evaluate(0)
        {}
        >>> Path(metric.out_file_path).exists()
        True
    """

    def compute_metrics(self, results: list) -> dict:
        """Write the predictions; return no metric."""
        file = Path(self.out_file_path)
        write_safely(file, lambda stream: dump(results, stream, file_format='pkl'))
        print_log(f'Results have been saved to {file}.', logger='current')
        return {}
