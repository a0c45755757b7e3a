"""Train small K-Nets beside what they are compared with: equal seeds, one JSON.

python benchmarks/knet_training.py shapes_panoptic --seeds 0 1 2 \
    --out benchmarks/results/knet_shapes_panoptic.json

| what | trained side by side |
| --- | --- |
| shapes_instance, shapes_panoptic | three stages; no stages |
| shapes_semantic | the same; mmseg's IterativeDecodeHead; half the epochs |
| camvid | three stages; mmseg's FCNHead |
| camvid_limits | no auxiliary head; half the learning rate; both twice as long |
| overfit_instance, overfit_panoptic | 8 images, tested on the same |

Those of one seed train at the same time, as many as there are processors, each on one
thread; the times of steps are comparable within a run only. A model with stages is also
tested after each of them.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch
from _shared import (
    commit,
    finish,
    loss_lines,
    metrics_of,
    start,
    train_side_by_side,
)
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from paperzoo.apis.config import find_config
from paperzoo.data.shapes import ShapesSpec, generate_shapes
from paperzoo.utils.files import write_json
from paperzoo.utils.run_info import run_info

SHAPES = 'Shapes: 400 training and 100 test images, synthetic'
EIGHT = (
    'Shapes: the first 8 training images, at 320x240, masks at half of that, flips '
    'off; tested on the same'
)
CAMVID = 'CamVid at 240x180: 367 training and 233 test images'


def as_it_is(cfg: Config) -> None:
    """Leave a config as it is."""


def use_mmseg_head(cfg: Config) -> None:
    """Replace our semantic head by mmseg's, arguments equal."""
    head = cfg.model.decode_head
    ours = head.kernel_update_head
    stage = {
        'type': 'mmseg.KernelUpdateHead',
        'num_mask_fcs': 1,
        'feat_transform_cfg': {'conv_cfg': {'type': 'Conv2d'}, 'act_cfg': None},
        'kernel_updator_cfg': {
            'type': 'mmseg.KernelUpdator',
            **ours.kernel_updator_cfg,
            'out_channels': ours.kernel_updator_cfg.in_channels,
            'norm_cfg': {'type': 'LN'},
        },
    }
    same = ('num_classes', 'num_heads', 'feedforward_channels')
    stage |= {key: ours[key] for key in (*same, 'in_channels', 'out_channels')}
    head.type = 'mmseg.IterativeDecodeHead'
    head.kernel_update_head = [stage] * head.num_stages


def halve_the_epochs(cfg: Config) -> None:
    """Train half as long: what the length of the training is worth."""
    cfg.train_cfg.max_epochs //= 2
    cfg.param_scheduler[1].end //= 2


def use_eight_images(cfg: Config) -> None:
    """Train and test on 8 images, so long that they can be learnt by heart.

    At the images' own size, with masks that have half its side: the objects are small,
    and masks at a quarter of reduced images, however perfect, cannot come to 0.9
    (results/knet_mask_bound.json).
    """
    root = Path(tempfile.gettempdir()) / 'paperzoo_shapes_8'
    root = generate_shapes(root, ShapesSpec(num_train=8, num_val=1))
    train, test = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    for transform in train.pipeline:
        if 'direction' in transform:
            transform.update(prob=0.0, direction='horizontal')
    for transform in (*train.pipeline, *test.pipeline):
        if 'scale' in transform:
            transform.scale = (320, 240)
    cfg.model.rpn_head.localization_fpn.upsample_times = 3
    cfg.model.mask_assign_stride = 2
    for dataset in (train, test):
        dataset.update(data_root=str(root), ann_file=train.ann_file)
        dataset.data_prefix = train.data_prefix
    cfg.test_evaluator.ann_file = str(root / train.ann_file)
    if 'seg_prefix' in cfg.test_evaluator:
        cfg.test_evaluator.seg_prefix = str(root / train.data_prefix.seg)
    # Two steps an epoch.
    epochs = 400
    cfg.train_cfg.max_epochs = epochs
    cfg.param_scheduler[1].end = epochs
    cfg.default_hooks.checkpoint.interval = epochs
    cfg.default_hooks.logger.interval = 20


def halve_the_rate(cfg: Config) -> None:
    """Train with half the learning rate."""
    cfg.optim_wrapper.optimizer.lr /= 2


def double_the_epochs(cfg: Config) -> None:
    """Train twice as long."""
    cfg.train_cfg.max_epochs *= 2
    cfg.param_scheduler[1].end *= 2


def without_auxiliary_head(cfg: Config) -> None:
    """Train with the losses of the decode head alone."""
    cfg.model.auxiliary_head = None


Variant = tuple[str, Callable[[Config], None]]
TINY = 'knet_tiny_shapes_'
CAMVID_CONFIG = 'knet_tiny_camvid'
TRAININGS: dict[str, tuple[str, dict[str, Variant]]] = {
    **{
        f'shapes_{task}': (
            SHAPES,
            {
                '3 stages': (TINY + task, as_it_is),
                'no stages': (f'{TINY}{task}_no_update', as_it_is),
            },
        )
        for task in ('instance', 'panoptic', 'semantic')
    },
    'camvid': (
        CAMVID,
        {
            '3 stages': (CAMVID_CONFIG, as_it_is),
            "mmseg's FCNHead": ('fcn_tiny_camvid', as_it_is),
        },
    ),
    'camvid_limits': (
        CAMVID,
        {
            'no auxiliary head': (CAMVID_CONFIG, without_auxiliary_head),
            'half the learning rate': (CAMVID_CONFIG, halve_the_rate),
            'twice the epochs': (CAMVID_CONFIG, double_the_epochs),
            "mmseg's FCNHead, twice the epochs": ('fcn_tiny_camvid', double_the_epochs),
        },
    ),
    **{
        f'overfit_{task}': (EIGHT, {'3 stages': (TINY + task, use_eight_images)})
        for task in ('instance', 'panoptic')
    },
}
TRAININGS['shapes_semantic'][1].update(
    {
        "mmseg's IterativeDecodeHead": (TINY + 'semantic', use_mmseg_head),
        '3 stages, half the epochs': (TINY + 'semantic', halve_the_epochs),
    }
)


def train_all(
    variants: dict[str, Variant], seed: int, folder: Path, options: list[str]
) -> list[dict]:
    """Return what the trainings of one seed came to."""
    configs = {}
    for name, (config, change) in variants.items():
        configs[name] = Config.fromfile(str(find_config(config)))
        change(configs[name])
    extra = ['--cfg-options', *options] if options else []
    works = train_side_by_side(configs, seed, folder, extra)
    return [
        result(name, seed, works[name], config, options)
        for name, (config, _) in variants.items()
    ]


def result(
    name: str, seed: int, work: Path, config: str, options: list[str]
) -> dict[str, Any]:
    """Test a model, after each of its stages too; return the numbers and the curve."""
    file = str(work / 'given.py')
    checkpoint = (work / 'last_checkpoint').read_text()
    model = Config.fromfile(file).model
    part = next((key for key in ('roi_head', 'decode_head') if key in model), '')
    stages = model[part].get('num_stages', 0)
    ours = 'Iterative' not in str(model[part].type)
    by_stage = {
        after: tested(work, file, checkpoint, part, after, options)
        for after in range(stages if ours else 0)
    }
    lines = loss_lines(work)
    return {
        'what': name,
        'config': config,
        'seed': seed,
        'seconds_per_step': round(median(line['time'] for line in lines), 4),
        **tested(work, file, checkpoint, part, None, options),
        **({'after_stage': by_stage} if by_stage else {}),
        'curve': [[line['step'], round(line['loss'], 4)] for line in lines],
    }


def tested(
    work: Path,
    file: str,
    checkpoint: str,
    part: str,
    after: int | None,
    options: list[str],
) -> dict[str, float]:
    """Return the metrics of a model, or of its first stages alone."""
    folder = work / f'test_{after}'
    folder.mkdir()
    if after is not None:
        checkpoint = without_later_stages(checkpoint, after, folder)
        options = [*options, f'model.{part}.num_stages={after}']
    extra = ['--cfg-options', *options] if options else []
    finish(folder, start(folder, 'test', file, checkpoint, *extra))
    return metrics_of(folder)


def without_later_stages(checkpoint: str, after: int, folder: Path) -> str:
    """Write a checkpoint that ends with a stage."""
    weights = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    kept = {}
    for key, value in weights['state_dict'].items():
        _, _, rest = key.partition('stages.')
        rest = rest or key.partition('kernel_update_head.')[2]
        if not rest or int(rest.partition('.')[0]) < after:
            kept[key] = value
    target = folder / 'first_stages.pth'
    torch.save({'state_dict': kept, 'meta': {}}, target)
    return str(target)


def summary(runs: list[dict]) -> dict[str, Any]:
    """Return mean and spread of the main metric of each variant."""
    metric = next(m for m in ('segm_mAP', 'PQ', 'mIoU') if m in runs[0])
    values: dict[str, list[float]] = {}
    for run in runs:
        values.setdefault(run['what'], []).append(run[metric])
    return {
        f'mean_{metric}': {name: round(mean(own), 4) for name, own in values.items()},
        f'stdev_{metric}': {
            name: round(stdev(own), 4) if len(own) > 1 else None
            for name, own in values.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('what', choices=TRAININGS)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument('--cfg-options', nargs='*', default=[])
    parser.add_argument('--keep', type=Path, help='folder for checkpoints and logs')
    args = parser.parse_args()
    data, variants = TRAININGS[args.what]
    runs: list[dict] = []
    written: Path | None = None
    measured_at = commit()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        for seed in args.seeds:
            runs += train_all(variants, seed, folder, args.cfg_options)
            print(*(summary([run]) for run in runs[-len(variants) :]), sep='\n')
            record = {
                'what': f'{args.what}: {" beside ".join(variants)}, all else equal',
                'data': f'{data}; no paper has these numbers',
                **summary(runs),
                'runs': runs,
                'cfg_options': args.cfg_options,
                'threads_per_training': 1,
                'commit': measured_at,
                **run_info(),
            }
            # After each seed: who stops the next one keeps the earlier ones.
            latest = write_json(args.out, record)
            written = latest.replace(written or latest)
    print(f'Written: {written}')


if __name__ == '__main__':
    main()
