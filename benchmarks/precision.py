"""What bfloat16 costs in accuracy: small trained models tested in both precisions.

python benchmarks/precision.py fcos_tiny_shapes=demo/epoch_18.pth dmf_tiny_glyphs=d.pth

Every model is tested by `paperzoo test` in float32 and with `--precision bfloat16`,
which refuses where the processor has no units for it. Models are small and trained for
minutes: what counts is the difference. Rows of other configs stay in the file.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from _shared import commit, finish, metrics_of, start

from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

PRECISIONS = ('float32', 'bfloat16')
# What a model is judged by, the first that it has.
MAIN = ('bbox_mAP', 'segm_mAP', 'PQ', 'mIoU', 'test_accuracy')


def compared(
    config: str, checkpoint: str, options: list[str], folder: Path
) -> dict[str, Any]:
    """Return the main metric of a checkpoint in each precision, and all of them.

    Args:
        config: Its config.
        checkpoint: The file.
        options: Of the config.
        folder: For the outputs of the tests.
    """
    metrics = {}
    seconds = {}
    extra = ['--cfg-options', *options] if options else []
    for precision in PRECISIONS:
        place = folder / f'{config}_{precision}'
        asked = ('test', config, checkpoint, '--precision', precision)
        finish(place, start(place, *asked, *extra))
        metrics[precision] = metrics_of(place)
        (file,) = place.glob('*/test_metrics.json')
        seconds[precision] = json.loads(file.read_text())['seconds']
    main = next(name for name in MAIN if name in metrics['float32'])
    values = {precision: round(own[main], 4) for precision, own in metrics.items()}
    return {
        'config': config,
        'metric': main,
        **values,
        'difference': round(values['bfloat16'] - values['float32'], 4),
        'seconds': seconds,
        'cfg_options': options,
        'commit': commit(),
        'all': metrics,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('given', nargs='+', metavar='CONFIG=CHECKPOINT')
    parser.add_argument(
        '--out', type=Path, default='benchmarks/results/precision_cpu.json'
    )
    parser.add_argument('--cfg-options', nargs='*', default=[])
    args = parser.parse_args()
    given = [one.partition('=')[::2] for one in args.given]
    rows = []
    if args.out.is_file():
        names = [config for config, _ in given]
        kept = json.loads(args.out.read_text())['rows']
        rows = [row for row in kept if row['config'] not in names]
    with tempfile.TemporaryDirectory(prefix='paperzoo_precision_') as folder:
        for config, checkpoint in given:
            row = compared(config, checkpoint, args.cfg_options, Path(folder))
            rows.append(row)
            print({k: v for k, v in row.items() if k != 'all'}, flush=True)
    record = {
        'what': 'small models tested in float32 and in bfloat16, the same weights',
        'data': 'Shapes, Glyphs and CamVid as in the configs; no paper has these',
        'rows': rows,
        'threads': 1,
        'commit': commit(),
        **run_info(),
    }
    print(f'Written: {write_json(args.out, record, replace=True)}')


if __name__ == '__main__':
    main()
