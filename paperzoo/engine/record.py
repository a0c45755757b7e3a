"""What a measured number is worth nothing without: versions, device, hash, date."""

import hashlib
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

_DISTS = (
    'paperzoo',
    'torch',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmdet',
    'mmsegmentation',
    'numpy',
    'pycocotools',
    'faster-coco-eval',
)


def run_record() -> dict[str, Any]:
    """Return versions, device, command and date of this run, for a JSON file."""
    import torch

    versions = {'python': platform.python_version()}
    for dist in _DISTS:
        try:
            versions[dist] = metadata.version(dist)
        except metadata.PackageNotFoundError:
            continue
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = f'CPU: {_processor()}, {torch.get_num_threads()} threads'
    return {
        'versions': versions,
        'device': device,
        'command': ' '.join(sys.argv),
        'date': time.strftime('%Y-%m-%d %H:%M:%S'),
    }


def checkpoint_record(checkpoint: str) -> dict[str, str]:
    """Return the path of a checkpoint and, if it is a file, its SHA-256."""
    record = {'checkpoint': checkpoint}
    if Path(checkpoint).is_file():
        with Path(checkpoint).open('rb') as file:
            record['checkpoint_sha256'] = hashlib.file_digest(
                file, 'sha256'
            ).hexdigest()
    return record


def write_json(file: Path, record: dict[str, Any]) -> Path:
    """Write a record; an earlier file of this name is never replaced.

    Args:
        file: Where to write; `name_2.json` and so on if it exists already.
        record: What to write; NumPy and torch scalars become numbers.

    Returns:
        The file that was written.
    """
    target, count = file, 1
    while target.exists():
        count += 1
        target = file.with_stem(f'{file.stem}_{count}')
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f'.{os.getpid()}.tmp')
    text = json.dumps(record, indent=2, default=_plain)
    partial.write_text(text + '\n', encoding='utf-8')
    partial.replace(target)
    return target


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, 'item') else str(value)


def _processor() -> str:
    try:
        for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
