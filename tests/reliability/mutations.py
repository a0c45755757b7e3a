"""Kinds of trouble made by changing what is right: values, files, images, checkpoints.

Each list is the product of a few places with a few ways to be wrong, not a list of
faults that were found.
"""

import json
import os
import zipfile
from collections.abc import Callable
from functools import partial, reduce
from operator import getitem, setitem
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from reliability.commands import Case

Change = Callable[['Case'], None]

# Keys of each part of a config, and values of a type that none of them takes.
FIELDS = {
    'train_cfg': ('a list', '[1,2]'),
    'train_cfg.max_epochs': ('an infinity', 'inf'),
    'train_cfg.val_interval': ('a text', 'often'),
    'optim_wrapper': ('a number', '3'),
    'optim_wrapper.optimizer.lr': ('a list', '[1e-3]'),
    'optim_wrapper.optimizer': ('a text', 'SGD'),
    'optim_wrapper.clip_grad': ('a number', '35'),
    'param_scheduler': ('a text', 'cosine'),
    'train_dataloader': ('a text', 'coco'),
    'train_dataloader.batch_size': ('a text', 'large'),
    'train_dataloader.num_workers': ('negative', '-1'),
    'val_dataloader.dataset': ('a list', '[1]'),
    'test_dataloader.dataset.metainfo': ('a text', 'classes'),
    'test_dataloader.dataset.ann_file': ('a number', '3'),
    'val_evaluator': ('a number', '3'),
    'default_hooks': ('a list', '[1]'),
    'default_hooks.logger.interval': ('a text', 'x'),
    'custom_hooks': ('a text', 'EMA'),
    'env_cfg': ('a number', '3'),
    'env_cfg.cudnn_benchmark': ('a text', 'fast'),
    'log_level': ('unknown', 'LOUD'),
    'launcher': ('unknown', 'x'),
    'randomness': ('a number', '3'),
    'randomness.seed': ('a fraction', '0.5'),
    'work_dir': ('a number', '3'),
    'load_from': ('a number', '3'),
    'default_scope': ('a number', '3'),
    'model.test_cfg': ('a number', '3'),
    'model.data_preprocessor': ('a text', 'mean'),
    'optim_wraper.type': ('misspelt', 'OptimWrapper'),
    'vis_backends': ('read by nothing', '3'),
}
# What is seen when a training is built or begins.
TRAINED = {
    'train_dataloader.sampler.shuffle': 'x',
    'default_hooks.checkpoint.max_keep_ckpts': 'x',
    'train_dataloader.dataset.pipeline': '[]',
    'model.neck': 'None',
    'default_scope': 'nope',
    'train_dataloader.dataset.data_root': 'None',
}

# Only a model can tell.
UNKNOWING = ('a weight missing', 'a weight of another shape')
DEEP = '[' * 100_000
FIELDS_OF_COCO: tuple[tuple[str, str], ...] = (
    *(('images', one) for one in ('id', 'file_name', 'height', 'width')),
    *(('annotations', one) for one in ('id', 'image_id', 'category_id', 'bbox')),
    *(('categories', one) for one in ('id', 'name')),
)
VALUES: dict[str, Any] = {
    'null': None,
    'a dict': {'a': 1},
    'a list in a list': [[1]],
}


def annotations() -> dict[str, Change]:
    """Return changes of the annotation file, after which nothing can read it."""
    kinds = {
        'missing': _file(lambda file: file.unlink()),
        'a folder': _file(_folder),
        'a pipe': _file(_pipe),
        'a link to nowhere': _file(_link('nowhere')),
        'deep nesting': _file(lambda file: file.write_text(DEEP)),
    }
    contents: dict[str, bytes] = {
        'empty': b'',
        'spaces': b' \n ',
        'null': b'null',
        'a list': b'[]',
        'a number': b'3',
        'a text': b'"images"',
        'an empty dict': b'{}',
        'UTF-8 that ends': b'{"images": ["\xe9',
        'zeros': bytes(999),
        'YAML': b'images:\n- id: 1\n',
        'XML': b'<annotation></annotation>',
        'a picture': b'\xff\xd8\xff\xe0\x00\x10JFIF',
    }
    for name, content in contents.items():
        kinds[name] = _file(_content(content))
    for share in (1, 25, 50, 75, 99):
        kinds[f'cut at {share} %'] = _file(partial(_cut, share=share))
    for part in ('images', 'annotations', 'categories'):
        kinds[f'no {part}'] = _json(_without(part))
        for name, value in VALUES.items():
            kinds[f'{part} {name}'] = _json(_with(part, value))
    for part, field in FIELDS_OF_COCO:
        if field != 'id' or part != 'annotations':
            kinds[f'{part} without {field}'] = _json(_without(part, 0, field))
        for name in ('a dict', 'a list in a list'):
            value = VALUES[name]
            kinds[f'{field} of {part} {name}'] = _json(_with(part, 0, field, value))
    return kinds


def _file(change: Callable[[Path], object], ann: str = 'train.json') -> Change:
    def changed(case: 'Case') -> None:
        own_data(case)
        change(case.folder / 'data' / ann)
        case.names = (ann, 'data')

    return changed


def own_data(case: 'Case') -> None:
    """Let the config read the data of the case, not those of all."""
    text = case.config.read_text()
    toy = case.folder.parent / 'toy' / 'data'
    case.config.write_text(text.replace(str(toy), str(case.folder / 'data')))


def _json(change: Callable[[Any], object]) -> Change:
    def changed(file: Path) -> None:
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return _file(changed)


def _folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _link(target: str) -> Callable[[Path], object]:
    """Put a link in the place of a file, by default to itself."""

    def changed(file: Path) -> None:
        file.unlink()
        file.symlink_to(target or file.name)

    return changed


def _content(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def _save(content: Any, file: Path) -> None:
    torch.save(content, file)


def _without(*path: Any) -> Callable[[Any], object]:
    """Remove what lies there in a content of dicts and lists."""
    *above, last = path
    return lambda content: reduce(getitem, above, content).pop(last)


def _with(*path_and_value: Any) -> Callable[[Any], object]:
    """Put a value there."""
    *above, last, value = path_and_value
    return lambda content: setitem(reduce(getitem, above, content), last, value)


def _cut(file: Path, share: int) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[: max(1, len(whole) * share // 100)])


def images() -> dict[str, Change]:
    """Return changes of the only image, after which it is none."""
    kinds: dict[str, Callable[[Path], object]] = {
        'missing': Path.unlink,
        'a folder': _folder,
        'a pipe': _pipe,
        'a link to nowhere': _link('nowhere'),
        'a link to a device': _link('/dev/zero'),
        'a link to itself': _link(''),
    }
    contents = {
        'empty': b'',
        'one byte': b'\xff',
        'zeros': bytes(4096),
        'a text': b'no image',
        'HTML': b'<html>404</html>',
        'JSON': b'{}',
        'a zip': b'PK\x03\x04' + bytes(99),
        'a pickle': b'\x80\x04K\x01.',
        'begin of JPEG': b'\xff\xd8\xff\xe0\x00\x10JFIF\x00',
        'begin of PNG': b'\x89PNG\r\n\x1a\n',
        'begin of GIF': b'GIF89a',
        'begin of BMP': b'BM' + bytes(40),
        'begin of TIFF': b'II*\x00\x08\x00\x00\x00',
        'begin of WebP': b'RIFF\x10\x00\x00\x00WEBPVP8 ',
        'SVG': b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        'PDF': b'%PDF-1.4\n',
        'huge PNG': _png(60000, 60000),
        'PNG without width': _png(0, 9),
        'PNG without data': _png(9, 9),
    }
    for name, content in contents.items():
        kinds[name] = _content(content)
    for share in (1, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90):
        kinds[f'cut at {share} %'] = partial(_cut, share=share)
    for start in (0, 2, 20, 160):
        kinds[f'zeros from byte {start}'] = partial(_zeros, start=start)
    return {name: _image(change) for name, change in kinds.items()}


def _png(width: int, height: int) -> bytes:
    import struct
    import zlib

    head = b'IHDR' + struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    end = b'IEND'
    chunks = [struct.pack('>I', 13), head, struct.pack('>I', zlib.crc32(head))]
    chunks += [struct.pack('>I', 0), end, struct.pack('>I', zlib.crc32(end))]
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


def _zeros(file: Path, start: int) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:start] + bytes(max(200, len(whole) - start)))


def _image(change: Callable[[Path], object]) -> Change:
    def changed(case: 'Case') -> None:
        folder = case.folder / 'images'
        first, *others = sorted(folder.iterdir())
        for one in others:
            one.unlink()
        change(first)
        case.names = (first.name, str(folder), 'predictions.json')

    return changed


def checkpoints() -> dict[str, Change]:
    """Return changes of the checkpoints, after which they are none for this model."""
    kinds: dict[str, Callable[[Path], object]] = {
        'a folder': _folder,
        'a pipe': _pipe,
        'a link to nowhere': _link('nowhere'),
        'a link to a device': _link('/dev/zero'),
        'a zip of something else': _other_zip,
    }
    contents = {
        'one byte': b'P',
        'zeros': bytes(4096),
        'JSON': b'{}',
        'HTML': b'<html>404</html>',
        'a pointer of Git LFS': b'version https://git-lfs.github.com/spec/v1\noid 1\n',
        'a pickle of a number': b'\x80\x04K\x01.',
        'a pickle that calls': b"cos\nsystem\n(S'touch /tmp/no'\ntR.",
        'begin of a zip': b'PK\x03\x04' + bytes(30),
        'end of a zip': b'PK\x05\x06' + bytes(18),
        'a tar': b'x' * 257 + b'ustar' + bytes(250),
    }
    for name, content in contents.items():
        kinds[name] = _content(content)
    for share in (1, 10, 30, 70, 90, 99):
        kinds[f'cut at {share} %'] = partial(_cut, share=share)
    for name, value in _wrong_contents().items():
        kinds[name] = partial(_save, value)
    for name, change in _wrong_weights().items():
        kinds[name] = partial(_weights, change=change)
    return {name: _checkpoint(change) for name, change in kinds.items()}


def _wrong_contents() -> dict[str, Any]:
    return {
        'None': None,
        'a list': [torch.ones(1)],
        'a tensor': torch.ones(1),
        'an empty dict': {},
        'only meta': {'meta': {}},
        'weights None': {'state_dict': None},
        'weights a list': {'state_dict': [1]},
        'weights empty': {'state_dict': {}},
        'weights numbers': {'state_dict': {'a': 1}},
        'of another model': {'state_dict': {'fc.weight': torch.ones(2, 2)}},
        'keys numbers': {1: torch.ones(1)},
    }


def _wrong_weights() -> dict[str, Callable[[dict], object]]:
    def first(content: dict) -> str:
        return next(iter(content))

    return {
        'a weight missing': lambda content: content.pop(first(content)),
        'a weight too much': lambda content: content.update(more=torch.ones(1)),
        'a weight of another shape': lambda content: content.update(
            {first(content): torch.ones(3)}
        ),
        'a weight a text': lambda content: content.update({first(content): 'x'}),
        'a weight None': lambda content: content.update({first(content): None}),
    }


def _weights(file: Path, change: Callable[[dict], object]) -> None:
    whole = torch.load(file, weights_only=True)
    change(whole.get('state_dict', whole.get('model')))
    torch.save(whole, file)


def _other_zip(file: Path) -> None:
    with zipfile.ZipFile(file, 'w') as archive:
        archive.writestr('readme.txt', 'no weights')


def _checkpoint(change: Callable[[Path], object]) -> Change:
    def changed(case: 'Case') -> None:
        for name in ('w.pth', 'authors.pth'):
            change(case.folder / name)
        case.names = ('w.pth', 'authors.pth')

    return changed
