"""Stock configs of mmdet and mmseg: which to try, made small, with samples for them.

Weights are random, backbones shallow, images small: what is tried is whether the parts
of a config work on this stack, not what they learn.
"""

import copy
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.structures import PixelData

# Where mim finds the configs of a package, and the name of its registry's scope.
PACKAGES = ('mmdet', 'mmseg')
SIDE = 128
SEMANTIC_SIDE = 64
# What cannot take so small an image: the last of its maps would have no pixel.
LARGER = {'SSDVGG': 300, 'MobileNetV2': 320, 'HourglassNet': 256}
# Parts that are copied from each other over the depth of a backbone.
DEPTHS = {101: 50, 152: 50, 200: 50}
# Proposals and results.
MOST = {'nms_pre': 100, 'max_per_img': 20, 'max_per_image': 20, 'num_queries': 50}
WORDS = ('cat', 'dog', 'car')
LETTERS = 'abcdefghijklmnopqrstuvwxyz.'


def folder_of(package: str) -> Path:
    return Path(import_module(package).__path__[0]) / '.mim' / 'configs'


def parts(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every dictionary of a config, the outer ones first."""
    if isinstance(config, dict):
        yield config
        config = list(config.values())
    if isinstance(config, list | tuple):
        for value in config:
            yield from parts(value)


def types_of(config: Any) -> set[str]:
    """Return the names of all types in a config, without a scope."""
    kinds = [part['type'] for part in parts(config) if 'type' in part]
    return {getattr(kind, '__name__', str(kind)).rpartition('.')[2] for kind in kinds}


def chosen(package: str, folder: str = '') -> list[dict[str, Any]]:
    """Return one config for each combination of a folder and its models' types.

    The first of each folder come first. What cannot be read is one of its own kind.
    """
    root = folder_of(package)
    found: dict[tuple[str, Any], dict[str, Any]] = {}
    for file in sorted((root / folder).rglob('*.py')):
        name = file.relative_to(root)
        if '_base_' in name.parts:
            continue
        try:
            cfg = Config.fromfile(str(file), import_custom_modules=False)
        except Exception as error:
            kind: Any = f'{type(error).__name__}: {error}'.replace(str(root), '')[:60]
        else:
            if cfg.get('model') is None:
                continue  # only part of a config
            kind = frozenset(types_of(cfg.model))
        case = found.setdefault(
            (name.parts[0], kind),
            {'package': package, 'folder': name.parts[0], 'config': str(name)},
        )
        case['stands_for'] = case.get('stands_for', 0) + 1
    seen: dict[str, int] = {}
    cases = list(found.values())
    for case in cases:
        case['rank'] = seen[case['folder']] = seen.get(case['folder'], 0) + 1
    return sorted(cases, key=lambda case: case['rank'])


def shrink(cfg: Config) -> ConfigDict:
    """Return the model of a config with a shallow backbone and random weights."""
    model = copy.deepcopy(cfg.model)
    if 'data_preprocessor' not in model and cfg.get('data_preprocessor'):
        model.data_preprocessor = copy.deepcopy(cfg.data_preprocessor)
    # Where a result is tied to its query, their numbers are, too.
    tied = types_of(model) & {'SparseRoIHead', 'SideAdapterCLIPHead'}
    bert = ''
    for part in parts(model):
        for key in ('init_cfg', 'pretrained', 'teacher_ckpt'):
            if key in part:
                part[key] = False if part[key] is True else None
        if str(part.get('type')) == 'AppearanceFreeLink':
            part['checkpoint'] = None
        if isinstance(part.get('depth'), int):
            part['depth'] = DEPTHS.get(part['depth'], part['depth'])
        for key, most in MOST.items():
            if isinstance(part.get(key), int) and not tied:
                part[key] = min(part[key], most)
        if 'score_thr' in part:
            part['score_thr'] = 0.0
        if str(part.get('type')).endswith('Sampler') and 'num' in part:
            part['num'] = 32
        # They bring the images back to their full size.
        part.pop('batch_augments', None)
        if 'type' in part and str(part['type']).rpartition('.')[2] in (
            'SyncBN',
            'SyncBatchNorm',
        ):
            part['type'] = 'BN'
        if str(part.get('type')).endswith('BertModel'):
            part['name'] = bert = bert or tiny_bert()
        if 'templates' in part:  # of texts: hundreds, each for every class
            part['templates'] = ['{}']
        if 'lang_model_name' in part:
            part['lang_model_name'] = bert = bert or tiny_bert()
    preprocessor = model.get('data_preprocessor') or {}
    if preprocessor.get('size') is not None:  # what images of a training are padded to
        preprocessor['size'] = (side_of(model), side_of(model))
    return model


def tiny_bert() -> str:
    """Write a language model of random weights, whose words are letters."""
    transformers = import_module('transformers')
    folder = Path(tempfile.mkdtemp())
    special = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', '.', '?']
    pieces = [*LETTERS[:-1], *(f'##{letter}' for letter in LETTERS[:-1])]
    (folder / 'vocab.txt').write_text('\n'.join([*special, *WORDS, *pieces]))
    config = transformers.BertConfig(
        vocab_size=len(special) + len(WORDS) + len(pieces),
        hidden_size=768,
        num_hidden_layers=2,
        num_attention_heads=12,
        intermediate_size=64,
    )
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / 'vocab.txt')).save_pretrained(folder)
    return str(folder)


def side_of(model: ConfigDict) -> int:
    kinds = types_of(model)
    if 'LRASPPHead' in kinds:
        return 512
    if 'SSDVGG' in kinds or 'SSDHead' in kinds or 'HourglassNet' in kinds:
        return max(
            (size for kind, size in LARGER.items() if kind in kinds), default=300
        )
    fixed = [part['img_size'] for part in parts(model) if 'img_size' in part]
    if kinds & {'BEiT', 'MAE'} and fixed:
        return fixed[0] if isinstance(fixed[0], int) else fixed[0][0]
    return SIDE if 'decode_head' not in model else SEMANTIC_SIDE


def batch(cfg: Config, model: ConfigDict, training: bool) -> dict[str, Any]:
    """Return two annotated images, as a data loader gives them."""
    if is_semantic(cfg):
        return semantic_batch(model)
    if {'BaseReID', 'ImageClassifier'} & {str(model.type).rpartition('.')[2]}:
        return labelled_batch(model)
    # Some trackers train their detector on images.
    images = (model.get('data_preprocessor') or {}).get('use_det_processor')
    data = detection_batch(cfg, model, bool(training and images))
    if training and 'MultiBranchDataPreprocessor' in types_of(model):
        return branches(data)
    return data


def is_semantic(cfg: Config) -> bool:
    return cfg.get('default_scope') == 'mmseg'


def numbers(model: ConfigDict, *keys: str) -> list[int]:
    """Return the whole numbers that stand under some keys anywhere in a config."""
    given = [part.get(key) for part in parts(model) for key in keys]
    return [number for number in given if isinstance(number, int) and number > 0]


def semantic_batch(model: ConfigDict) -> dict[str, Any]:
    from mmseg.structures import SegDataSample

    size = (side_of(model), side_of(model))
    labels = min(numbers(model, 'num_classes'), default=2)
    samples = []
    for _ in range(2):
        info = dict.fromkeys(('img_shape', 'ori_shape', 'pad_shape'), size)
        sample = SegDataSample(metainfo={**info, 'scale_factor': (1.0, 1.0)})
        sample.gt_sem_seg = PixelData(data=torch.randint(0, max(labels, 2), (1, *size)))
        edges = torch.randint(0, 2, (1, *size))
        sample.set_data({'gt_edge_map': PixelData(data=edges)})
        if any('Depth' in kind for kind in types_of(model)):
            sample.gt_depth_map = PixelData(data=torch.rand(1, *size) + 0.5)
        samples.append(sample)
    channels = len((model.get('data_preprocessor') or {}).get('mean') or 'rgb')
    images = [torch.randint(0, 256, (channels, *size)).byte() for _ in range(2)]
    return {'inputs': images, 'data_samples': samples}


def detection_batch(
    cfg: Config, model: ConfigDict, only_images: bool = False
) -> dict[str, Any]:
    """Return images, or for a tracker a piece of a video."""
    from mmdet import testing

    kinds = types_of(model)
    loader = cfg.get('train_dataloader') or {}
    steps = [*parts(loader), *parts(cfg.get('train_pipeline') or [])]
    masks = any(step.get('with_mask') for step in steps)
    masks = masks or 'LoadPanopticAnnotations' in types_of(steps)
    classes = min(numbers(model, 'num_classes', 'num_things_classes'), default=1)
    shape = (3, side_of(model), side_of(model))
    if 'BertModel' in kinds:
        classes = len(WORDS)
    if 'TrackDataPreprocessor' in kinds and not only_images:
        data = testing.demo_track_inputs(
            batch_size=1,
            num_frames=2,
            key_frames_inds=[0],
            image_shapes=shape,
            num_classes=max(classes, 1),
            with_mask=masks,
        )
        for frames in data['inputs']:
            frames[:] = frames[0]  # between others no motion is found
        return data
    data = testing.demo_mm_inputs(
        batch_size=2,
        image_shapes=[shape, shape],
        num_items=[4, 2],
        num_classes=10,
        sem_seg_output_strides=8 if 'FusedSemanticHead' in kinds else 1,
        with_mask=masks,
        with_semantic=True,
        use_box_type=True,
        texts=['cat . dog . car .'] * 2 if 'BertModel' in kinds else None,
        custom_entities=True,
    )
    for sample in data['data_samples']:
        found = sample.gt_instances
        found.labels = found.labels % classes
        # Some targets need an area.
        boxes = found.bboxes.tensor
        boxes[:, :2] = (boxes[:, :2] - 9).clamp(min=0)
        boxes[:, 2:] = (boxes[:, 2:] + 9).clamp(max=shape[1])
        sample.set_metainfo({'homography_matrix': np.eye(3, dtype=np.float32)})
    if 'RPNHead' not in kinds and kinds & {'FastRCNN'}:
        proposals = testing.demo_mm_proposals([shape, shape], 20)
        for sample, given in zip(data['data_samples'], proposals, strict=True):
            sample.proposals = given
    return data


def labelled_batch(model: ConfigDict) -> dict[str, Any]:
    """Return images that have one label each: persons, two of each, or things."""
    if 'BaseReID' in types_of(model):
        kind = import_module('mmdet.structures').ReIDDataSample
    else:
        kind = import_module('mmpretrain.structures').DataSample
    info = {'img_shape': (256, 128), 'ori_shape': (256, 128)}
    samples = [kind(metainfo=info) for _ in range(4)]
    for number, sample in enumerate(samples):
        sample.set_gt_label(number // 2)
    images = [torch.randint(0, 256, (3, 256, 128)).byte() for _ in samples]
    return {'inputs': images, 'data_samples': samples}


def branches(data: dict[str, Any]) -> dict[str, Any]:
    """Return a batch for a teacher and a student, of samples with and without truth."""
    names = ('sup', 'unsup_teacher', 'unsup_student')
    return {
        key: {name: copy.deepcopy(value) for name in names}
        for key, value in data.items()
    }
