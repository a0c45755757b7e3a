"""One option for TensorBoard, Weights & Biases and MLflow."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.config import type_name
from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

# Name of the option: backend of MMEngine, package to install.
BACKENDS = {
    'tensorboard': ('TensorboardVisBackend', 'tensorboard'),
    'wandb': ('WandbVisBackend', 'wandb'),
    'mlflow': ('MLflowVisBackend', 'mlflow'),
}


def add_backend(cfg: 'Config', name: str) -> None:
    """Let the config's visualizer also write to TensorBoard, W&B or MLflow.

    Args:
        cfg: The config; its `visualizer` changes.
        name: A key of `BACKENDS`.

    Raises:
        UserError: If the package is not installed or the config has no visualizer.

    Example:
        >>> from mmengine.config import Config
        >>> from paperzoo.apis.vis_backends import add_backend
        >>> add_backend(Config(dict(work_dir='work')), 'tensorboard')
        Traceback (most recent call last):
        paperzoo.errors.UserError: ...
    """
    backend, package = BACKENDS[name]
    if find_spec(package) is None:
        raise UserError(
            f'--vis {name} needs the package {package}, which is not installed: '
            f'pip install {package}'
        )
    visualizer = cfg.get('visualizer')
    if not visualizer:
        raise UserError(
            f'{cfg.filename}: --vis {name} needs a visualizer in the config: '
            "visualizer=dict(type='Visualizer', vis_backends=[])"
        )
    present = list(visualizer.get('vis_backends') or [])
    if any(type_name(one['type']) == backend for one in present):
        return
    visualizer.vis_backends = [*present, {'type': backend, **_arguments(cfg, name)}]


def _arguments(cfg: 'Config', name: str) -> dict[str, Any]:
    run = Path(cfg.work_dir).absolute()
    if name == 'wandb':
        options = {'project': 'paperzoo', 'name': run.name}
        if not _wandb_logged_in():
            options['mode'] = 'offline'
            folder = run / '*' / 'vis_data' / 'wandb' / 'offline-run-*'
            print(f'wandb is not logged in: works offline. Later: wandb sync {folder}')
        return {'init_kwargs': options}
    if name == 'mlflow':
        # Its file store is closed to new runs since MLflow 3.
        uri = os.environ.get('MLFLOW_TRACKING_URI') or f'sqlite:///{run}/mlflow.db'
        if uri.startswith('sqlite'):
            run.mkdir(parents=True, exist_ok=True)
            print(f'Look at it with: mlflow ui --backend-store-uri {uri}')
        return {
            'exp_name': 'paperzoo',
            'run_name': run.name,
            'tracking_uri': uri,
        }
    print(f'Look at it with: tensorboard --logdir {run}')
    return {}


def _wandb_logged_in() -> bool:
    # WANDB_MODE: the user has said what he wants.
    if os.environ.get('WANDB_MODE') or os.environ.get('WANDB_API_KEY'):
        return True
    home = Path(os.path.expanduser('~'))
    own = [home / name for name in ('.netrc', '_netrc')]
    given = os.environ.get('NETRC')
    files = [Path(given)] if given else own
    return any(file.is_file() and 'wandb' in file.read_text() for file in files)
