"""What a measured number is worth nothing without: versions, device, hash, date."""

import hashlib
import os
import platform
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from paperzoo.errors import UserError
from paperzoo.utils.work_dirs import checkpoint_in

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
    'onnxruntime',
    'openvino',
    'hotcoco',
)


def run_info() -> dict[str, Any]:
    """Return versions, device, command and date of this run, for a JSON file.

    Example:
        >>> sorted(run_info())
        ['command', 'date', 'device', 'versions']
    """
    versions = {'python': platform.python_version()}
    for dist in _DISTS:
        try:
            versions[dist] = metadata.version(dist)
        except metadata.PackageNotFoundError:
            continue
    # An exported file runs without torch: what did not compute is not imported.
    torch = sys.modules.get('torch')
    if torch is None:
        device = f'CPU: {_processor()}'
    elif torch.cuda.is_available():
        device = torch.cuda.get_device_name()
    else:
        device = f'CPU: {_processor()}, {torch.get_num_threads()} threads'
    return {
        'versions': versions,
        'device': device,
        'command': ' '.join(sys.argv),
        'date': time.strftime('%Y-%m-%d %H:%M:%S'),
    }


def checkpoint_info(checkpoint: str) -> dict[str, str]:
    """Return the path of a checkpoint and, if it is a file, its SHA-256.

    Args:
        checkpoint: File, work dir (see `checkpoint_in`) or URL.

    Example:
        >>> checkpoint_info('https://example.org/fcos.pth')
        {'checkpoint': 'https://example.org/fcos.pth'}
    """
    checkpoint = checkpoint_in(checkpoint)
    info = {'checkpoint': checkpoint}
    if Path(checkpoint).is_file():
        with Path(checkpoint).open('rb') as file:
            info['checkpoint_sha256'] = hashlib.file_digest(file, 'sha256').hexdigest()
    return info


def is_first_process(launcher: str) -> bool:
    """Return whether this process is the first of a run, before they know each other.

    Args:
        launcher: As in a config; with `'none'` the process runs alone, whatever
            started it.

    Example:
        >>> from paperzoo.utils.run_info import is_first_process
        >>> is_first_process('none')
        True
    """
    if launcher == 'none':
        return True
    names = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')
    return next((os.environ[name] for name in names if name in os.environ), '0') == '0'


def _processor() -> str:
    try:
        for line in Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines():
            if line.startswith('model name'):
                return line.partition(':')[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_mib(device: str) -> dict[str, float]:
    """Return the peak memory: torch's on a GPU, the whole process's on a CPU.

    Example:
        >>> peak_mib('cpu')['peak_process_mib'] > 0
        True
    """
    import torch

    if device.startswith('cuda'):
        return {'peak_gpu_mib': round(torch.cuda.max_memory_allocated(device) / 2**20)}
    try:
        import resource
    except ImportError:  # Windows
        return {}
    unit = 1 if sys.platform == 'darwin' else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {'peak_process_mib': round(peak / 2**20)}


def trained_classes(meta: Mapping[str, Any]) -> list[str]:
    """Return the class names in a checkpoint's `meta`, by mmengine or of older times.

    Args:
        meta: Of the checkpoint.

    Raises:
        UserError: If what it says of its classes is no list of names.

    Example:
        >>> from paperzoo.utils.run_info import trained_classes
        >>> trained_classes({'CLASSES': ('cat', 'dog')})
        ['cat', 'dog']
    """
    data = meta.get('dataset_meta')
    if not isinstance(data, Mapping | None):
        raise UserError(
            f'its meta.dataset_meta is a {type(data).__name__}, no dict such as '
            "{'classes': ('cat', 'dog')}. Mend it, or take it out"
        )
    for key, found in (
        ('dataset_meta.classes', (data or {}).get('classes')),
        ('classes', meta.get('classes')),
        ('CLASSES', meta.get('CLASSES')),
    ):
        names = [found] if isinstance(found, str) else found
        if names is None:
            continue
        if not isinstance(names, list | tuple) or not all(
            isinstance(name, str) for name in names
        ):
            said = ' '.join(repr(found).split())
            raise UserError(
                f'its meta.{key} is {said[:60]}, no list of names such as '
                "('cat', 'dog'). Mend it, or take it out"
            )
        if names:
            return list(names)
    return []
