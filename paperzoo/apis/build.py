"""Models and runners of configs, with the weights of checkpoints."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.config_errors import refuse_objects
from paperzoo.errors import UserError
from paperzoo.preflight.common_values import require
from paperzoo.utils.files import refuse_unwritable
from paperzoo.utils.work_dirs import checkpoint_in

if TYPE_CHECKING:
    from mmengine.config import Config
    from mmengine.runner import Runner
    from torch import nn

_SCOPE = threading.RLock()


@contextmanager
def default_scope(cfg: 'Config') -> Iterator[None]:
    """Let names without a scope mean what a config means by them, for a while.

    MMEngine's default scope belongs to the process; afterwards it is what it was.

    Args:
        cfg: With `default_scope`; without one it is mmengine's.

    Example:
        >>> from mmengine.config import Config
        >>> from mmengine.registry import DefaultScope
        >>> from paperzoo.apis.build import default_scope
        >>> before = DefaultScope.get_current_instance()
        >>> with default_scope(Config(dict(default_scope='mmdet'))):
        ...     DefaultScope.get_current_instance().scope_name
        'mmdet'
        >>> DefaultScope.get_current_instance() is before
        True
    """
    from mmengine.registry import DefaultScope

    with _SCOPE, _restored([DefaultScope]):
        scope = cfg.get('default_scope') or 'mmengine'
        count = len(DefaultScope._instance_dict)
        DefaultScope.get_instance(f'paperzoo-{count}', scope_name=scope)
        yield


@contextmanager
def own_instances() -> Iterator[None]:
    """Let a run make its own visualizer, loggers and so on; then forget them.

    MMEngine keeps them by name for the whole process: the visualizer of a second run
    would write into the folder of the first.

    Example:
        >>> from mmengine.visualization import Visualizer
        >>> from paperzoo.apis.build import own_instances
        >>> with own_instances():
        ...     made = Visualizer.get_instance('mine')
        >>> Visualizer.check_instance_created('mine')
        False
    """
    import cv2
    from mmengine.utils import ManagerMixin
    from mmengine.visualization import Visualizer

    threads = cv2.getNumThreads()  # which MMEngine sets for its loaders
    with _restored(list(_below(ManagerMixin))):
        for cls in _below(Visualizer):
            cls._instance_dict.clear()
        try:
            yield
        finally:
            cv2.setNumThreads(threads)


def _below(cls: Any) -> Iterator[Any]:
    yield cls
    for child in cls.__subclasses__():
        yield from _below(child)


@contextmanager
def _restored(classes: list[Any]) -> Iterator[None]:
    before = {cls: dict(cls._instance_dict) for cls in classes}
    try:
        yield
    finally:
        for cls, instances in before.items():
            cls._instance_dict.clear()
            cls._instance_dict.update(instances)


def build_runner(cfg: 'Config', *, strict: bool, dump: str = '') -> 'Runner':
    """Return the runner of a config, with a bar of its progress in a terminal.

    Args:
        cfg: The config, complete.
        strict: Whether the checkpoint that it loads must fit the model exactly.
        dump: What is put behind the name under which MMEngine writes the config into
            the work dir, so that the training's own stays as it was.

    Raises:
        UserError: If the runner cannot be built because of a misspelt name, or its
            work dir or the config cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.apis.build import build_runner
        >>> from paperzoo.apis.config import load_config
        >>> options = {'log_level': 'ERROR'}
        >>> with TemporaryDirectory() as folder:
        ...     cfg = load_config('fcos_tiny_shapes', options, work_dir=folder)
        ...     type(build_runner(cfg, strict=False).model).__name__
        'FCOS'
    """
    from mmengine.registry import RUNNERS
    from mmengine.runner import Runner

    from paperzoo.engine.progress import ProgressBarHook
    from paperzoo.preflight.build_errors import spelling_explained

    refuse_unwritable(Path(cfg.work_dir))
    refuse_objects(cfg)  # it writes the config into its work dir
    with spelling_explained(cfg):
        own = _renamed(cfg, dump)
        runner = RUNNERS.build(own) if 'runner_type' in own else Runner.from_cfg(own)
    runner.register_hook(ProgressBarHook())
    _check_what_is_loaded(runner, strict=strict)
    return runner


def _check_what_is_loaded(runner: 'Runner', *, strict: bool) -> None:
    """Let a runner refuse a checkpoint without weights, or of another model."""
    from paperzoo.engine.weights import WeightsCheckHook, check_finite

    check = WeightsCheckHook()
    runner.register_hook(check)
    load = runner.load_checkpoint

    def load_checked(filename: str, *args: object, **kwargs: object) -> dict:
        check.file = str(filename)
        explained: AbstractContextManager[object] = nullcontext()
        if strict:
            # MMEngine only warns, and goes on with random weights.
            kwargs['strict'] = True
            explained = mismatch_explained(filename)
        with explained:
            loaded = load(filename, *args, **kwargs)
        check_finite(runner.model.named_parameters(), filename)
        return loaded

    runner.load_checkpoint = load_checked


def _renamed(cfg: 'Config', more: str) -> 'Config':
    """Return a config that MMEngine takes to be from a file with a longer name."""
    if not more or cfg.filename is None:  # one without a file goes beside the logs
        return cfg
    file = Path(cfg.filename)
    renamed = cfg.copy()
    object.__setattr__(renamed, '_filename', str(file.with_stem(file.stem + more)))
    return renamed


@contextmanager
def mismatch_explained(checkpoint: str, lines: int = 6) -> Iterator[None]:
    """Say in one message that a checkpoint belongs to another model.

    Args:
        checkpoint: The file that is loaded inside the context.
        lines: How many lines of what MMEngine says about the keys to keep.

    Raises:
        UserError: If the checkpoint's weights do not fit the model.

    Example:
        >>> from paperzoo.apis.build import mismatch_explained
        >>> with mismatch_explained('epoch_1.pth'):
        ...     raise RuntimeError('size mismatch for conv.weight')
        Traceback (most recent call last):
        paperzoo.errors.UserError: checkpoint 'epoch_1.pth' belongs to another ...
    """
    try:
        yield
    except RuntimeError as error:
        said = str(error)
        if 'do not match exactly' not in said and 'size mismatch' not in said:
            raise
        rows = [row[:300] for row in said.splitlines() if row.strip()]
        raise UserError(
            f"checkpoint '{checkpoint}' belongs to another model:\n  "
            + '\n  '.join(rows[1 : lines + 1])
            + '\nGive the config that it was trained with (a copy lies beside it), or '
            'the checkpoint that belongs to this config. To start a training from the '
            'weights that do fit: --cfg-options load_from=CHECKPOINT'
        ) from error


def build_model(cfg: 'Config', device: str | None = None) -> 'nn.Module':
    """Return the model of a config, in evaluation mode, with random weights.

    Args:
        cfg: The config, as `load_config` gives it.
        device: Where it goes, such as `'cpu'`; by default the GPU if there is one.

    Raises:
        UserError: If there is no such device, or a misspelt name keeps the model from
            being built.

    Example:
        >>> import paperzoo
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> model = paperzoo.build_model(cfg, 'cpu')
        >>> model.bbox_head.num_classes, model.training
        (7, False)
    """
    import torch

    from paperzoo.preflight.build_errors import spelling_explained

    device = device or default_device()
    check_device(device)
    with default_scope(cfg), spelling_explained(cfg):
        model = _network(cfg)
    return model.to(torch.device(device)).eval()


def _network(cfg: 'Config') -> 'nn.Module':
    from mmengine.registry import MODELS

    require(cfg, 'model', what='this')
    spec = cfg.model.copy()
    # As the Runner does it.
    if cfg.get('data_preprocessor') is not None:
        spec.setdefault('data_preprocessor', cfg.data_preprocessor)
    return MODELS.build(spec)


def build_dataset(cfg: 'Config', split: str, spec: Mapping[str, Any]) -> Any:
    """Return a data set.

    Args:
        cfg: The config.
        split: Of which it is, for messages.
        spec: What the config says of it.

    Raises:
        UserError: If its files are missing or wrong, or a misspelt name keeps it from
            being built.

    Example:
        >>> from paperzoo.apis.build import build_dataset
        >>> from paperzoo.apis.config import load_config
        >>> cfg = load_config('fcos_tiny_shapes')
        >>> len(build_dataset(cfg, 'val', cfg.val_dataloader.dataset))
        100
    """
    from mmengine.registry import DATASETS

    from paperzoo.preflight.build_errors import spelling_explained

    try:
        with default_scope(cfg), spelling_explained(cfg), _data_explained(cfg, split):
            return DATASETS.build(spec)
    except FileNotFoundError as error:
        raise UserError(
            f'{cfg.filename}: {split}_dataloader.dataset: {error}. Put the data set '
            f'there, or: --cfg-options {split}_dataloader.dataset.data_root=PATH'
        ) from error


@contextmanager
def _data_explained(cfg: 'Config', split: str) -> Iterator[None]:
    """Look at the files of a data set only when it does not build."""
    from paperzoo.preflight.run import check_data

    try:
        yield
    except (UserError, FileNotFoundError):
        raise
    except Exception:
        check_data(cfg, split)
        raise


def build_stored_model(cfg: 'Config', device: str, checkpoint: str) -> 'nn.Module':
    """Return the model of a config that a checkpoint holds, with random weights.

    Other than `build_model` it looks for no misspelt names: that would import the
    modules that the config names.

    Args:
        cfg: As `stored_config` gives it.
        device: Where it goes.
        checkpoint: Its file, for messages.

    Raises:
        UserError: If there is no such device, or the model cannot be built.

    Example:
        >>> from paperzoo.apis.build import build_stored_model
        >>> from paperzoo.apis.stored_config import stored_config
        >>> cfg = stored_config({'cfg': "model = dict(type='mmdet.FCOS')"}, 'a.pth')
        >>> build_stored_model(cfg, 'cpu', 'a.pth')
        Traceback (most recent call last):
        paperzoo.errors.UserError: the config in the checkpoint 'a.pth' does ...
    """
    import torch

    check_device(device)
    try:
        with default_scope(cfg):
            model = _network(cfg)
    except Exception as error:  # Anything: it may come from anywhere.
        raise not_built(checkpoint, 'a model', error) from error
    return model.to(torch.device(device)).eval()


def not_built(checkpoint: str | Path, what: str, error: Exception) -> UserError:
    """Return the error that a checkpoint's own config is of no use.

    Args:
        checkpoint: Its file.
        what: What was to be built.
        error: What was raised.

    Example:
        >>> from paperzoo.apis.build import not_built
        >>> str(not_built('a.pth', 'a pipeline', KeyError('x'))).partition(':')[0]
        "the config in the checkpoint 'a.pth' does not build a pipeline"
    """
    first = (str(error).splitlines() or [''])[0][:300]
    return UserError(
        f"the config in the checkpoint '{checkpoint}' does not build {what}: "
        f'{type(error).__name__}: {first}. Give the config that it was trained '
        'with: config=FILE'
    )


def check_device(device: str) -> None:
    """Refuse a device that is not there.

    Args:
        device: As torch names it.

    Raises:
        UserError: If torch does not know the device, or this machine does not have it.

    Example:
        >>> from paperzoo.apis.build import check_device
        >>> check_device('cpu')
    """
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f'--device {device}: {first}. Without a GPU: --device cpu'
        ) from error


def default_device() -> str:
    """Return `'cuda'` if there is a GPU, else `'cpu'`.

    Example:
        >>> from paperzoo.apis.build import default_device
        >>> default_device() in ('cuda', 'cpu')
        True
    """
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def read_checkpoint(checkpoint: str | Path) -> dict[str, Any]:
    """Return what a checkpoint holds; no code in it is run.

    Args:
        checkpoint: File, work dir (see `checkpoint_in`) or URL.

    Raises:
        UserError: If the file is not there, damaged, or holds no weights.

    Example:
        >>> import torch
        >>> from tempfile import NamedTemporaryFile
        >>> from paperzoo.apis.build import read_checkpoint
        >>> with NamedTemporaryFile(suffix='.pth') as file:
        ...     torch.save({'state_dict': {'weight': torch.ones(2)}}, file.name)
        ...     read_checkpoint(file.name)
        {'state_dict': {'weight': tensor([1., 1.])}}
    """
    from mmengine.runner import CheckpointLoader

    from paperzoo.engine.weights import check_weights

    checkpoint = checkpoint_in(checkpoint)
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu')
    check_weights(loaded, checkpoint)
    return loaded


def load_weights(
    model: 'nn.Module', checkpoint: str | Path, loaded: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Load a checkpoint that must fit the model exactly; return its `meta`.

    Args:
        model: Gets the weights.
        checkpoint: File, work dir or URL.
        loaded: What it holds, if it has been read already.

    Raises:
        UserError: If the checkpoint is not there, damaged, of another model, or holds
            numbers that are not finite.

    Example:
        >>> import torch
        >>> from tempfile import NamedTemporaryFile
        >>> from paperzoo.apis.build import load_weights
        >>> with NamedTemporaryFile(suffix='.pth') as file:
        ...     weights = {'weight': torch.ones(1, 1), 'bias': torch.zeros(1)}
        ...     torch.save({'state_dict': weights, 'meta': {'epoch': 3}}, file.name)
        ...     load_weights(torch.nn.Linear(1, 1), file.name)
        {'epoch': 3}
    """
    # The second half of mmengine's load_checkpoint.
    from mmengine.runner.checkpoint import _load_checkpoint_to_model

    from paperzoo.engine.weights import check_finite

    loaded = read_checkpoint(checkpoint) if loaded is None else loaded
    with mismatch_explained(str(checkpoint)):
        _load_checkpoint_to_model(model, loaded, strict=True)
    check_finite(model.named_parameters(), checkpoint)
    return loaded.get('meta') or {}
