"""torch.compile for the parts of a model, one by one.

MMEngine compiles the whole training step, data preparation and losses included, which
torch.compile cannot; and the parts with fixed shapes gain the most.
"""

import inspect
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from paperzoo.errors import UserError
from paperzoo.registry import HOOKS
from paperzoo.utils.wrappers import unwrap_model


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile backbone, neck and heads, each by itself, before the training.

    Weights, state dict and losses stay where they are. A part with an operation that
    cannot be compiled runs it as before.

    Args:
        options: For `torch.compile`: `backend`, `mode`, `dynamic`, ...

    Raises:
        UserError: If torch has no such option or backend, or this machine lacks what
            the backend needs.

    Example:
        >>> CompileHook(backend='eager').options
        {'backend': 'eager'}
    """

    # After all hooks that copy the model, change its layers or its memory format.
    priority = 'LOWEST'

    def __init__(self, **options: Any) -> None:
        check_options(options)
        self.options = options

    def before_train(self, runner: Runner) -> None:
        """Compile; the first steps of each shape are slow."""
        names = compile_parts(unwrap_model(runner.model), **self.options)
        runner.logger.info(
            f'Compiled: {", ".join(names)}. The first iterations are slow.'
        )


class CompiledForward:
    """The compiled `forward` of a module, as the module's attribute.

    Code that calls `module.forward` gets it as well as code that calls `module`, which
    `nn.Module.compile` does not do (mmseg's heads need it).

    Args:
        module: Whose `forward` it is.
        options: For `torch.compile`.
    """

    def __init__(self, module: nn.Module, **options: Any) -> None:
        self.module = module
        self.options = options
        self.compiled = torch.compile(type(module).forward.__get__(module), **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        return self.compiled(*args, **kwargs)

    def __deepcopy__(self, memo: dict) -> 'CompiledForward':
        """Return the one of the copied module: the copy has weights of its own."""
        return CompiledForward(deepcopy(self.module, memo), **self.options)

    def __reduce__(self) -> tuple:
        return _compiled_again, (self.module, self.options)


def compile_parts(model: nn.Module, **options: Any) -> list[str]:
    """Compile the parts of a model, each by itself, and return their names.

    Args:
        model: Of mmdet or mmseg, or any other whose children are its parts.
        options: For `torch.compile`.

    Example:
        >>> model = nn.ModuleDict({'backbone': nn.Linear(1, 1), 'neck': nn.ReLU()})
        >>> compile_parts(model, backend='eager')  # the neck has no weights
        ['backbone']
    """
    names = []
    for name, part in parts(model):
        part.forward = CompiledForward(part, **options)
        names.append(name)
    return names


def parts(model: nn.Module, prefix: str = '') -> Iterator[tuple[str, nn.Module]]:
    """Yield the parts of a model that are worth compiling, with their names.

    Backbone, neck and heads; of lists and of heads with heads in them (mmdet's
    `roi_head`) the elements. A decode head of mmseg is one part whatever is in it: it
    is its `forward` that runs, not that of a head in it.

    Args:
        model: The model or a part of it.
        prefix: Of the names.

    Example:
        >>> heads = nn.ModuleDict({'bbox_head': nn.Linear(1, 1)})
        >>> model = nn.ModuleDict({'backbone': nn.Linear(1, 1), 'roi_head': heads})
        >>> [name for name, _ in parts(model)]
        ['backbone', 'roi_head.bbox_head']
    """
    for name, child in model.named_children():
        if next(child.parameters(), None) is None:
            continue
        inner = [key for key, _ in child.named_children() if key.endswith('_head')]
        whole = name in ('decode_head', 'auxiliary_head')
        if isinstance(child, nn.ModuleList) or (inner and not whole):
            yield from parts(child, f'{prefix}{name}.')
        else:
            yield prefix + name, child


def use_compile(cfg: Config, options: dict | bool) -> None:
    """Let a config compile its model part by part.

    Args:
        cfg: Its `compile`, by which MMEngine would compile the whole step, is removed.
        options: For `torch.compile`, or whether to compile with the defaults.

    Example:
        >>> cfg = Config(dict(compile=True))
        >>> use_compile(cfg, {'backend': 'eager'})
        >>> cfg.to_dict()
        {'custom_hooks': [{'type': 'paperzoo.CompileHook', 'backend': 'eager'}]}
    """
    cfg.pop('compile', None)
    if options is False or options is None:
        return
    hook = dict(
        type='paperzoo.CompileHook', **(options if isinstance(options, dict) else {})
    )
    cfg.custom_hooks = [*(cfg.get('custom_hooks') or []), hook]


def check_options(options: dict) -> None:
    """Refuse what would fail in the first step, with a long trace.

    Args:
        options: For `torch.compile`.

    Raises:
        UserError: If torch has no such option or backend, or this machine lacks what
            the backend needs.

    Example:
        >>> try:
        ...     check_options({'mod': 'default'})
        ... except UserError as error:
        ...     print(str(error).partition(';')[0])
        compile.mod='default': torch.compile has no such option
    """
    known = list(inspect.signature(torch.compile).parameters)[1:]
    for name in options:
        if name not in known:
            raise UserError(
                f'compile.{name}={options[name]!r}: torch.compile has no such option; '
                f'it has {", ".join(known)}'
            )
    backend = options.get('backend', 'inductor')
    if not isinstance(backend, str):
        return
    backends = torch.compiler.list_backends(exclude_tags=())
    if backend not in backends:
        raise UserError(
            f"--compile {backend} (compile.backend='{backend}'): this torch has no "
            f'such backend; it has {", ".join(backends)}'
        )
    if backend == 'inductor' and (lacking := _inductor_lacks()):
        raise UserError(
            f"--compile (compile.backend='inductor') needs {lacking}. Install it, "
            'take a backend that needs none (--compile aot_eager, which is no faster), '
            'or train without --compile'
        )


def _inductor_lacks() -> str:
    """Return what torch's default compiler needs and does not find here."""
    if is_cuda_available() and find_spec('triton') is None:
        return 'triton, which is not installed (pip install triton)'
    variable, usual = 'CXX', ['clang++' if sys.platform == 'darwin' else 'g++']
    if is_cuda_available():
        variable, usual = 'CC', ['gcc', 'clang']
    compilers = [os.environ[variable]] if variable in os.environ else usual
    if not any(map(shutil.which, compilers)):
        return (
            f'a compiler: no {" or ".join(compilers)} was found (apt-get install '
            f'g++, or name another one in ${variable})'
        )
    header = Path(sysconfig.get_paths()['include'], 'Python.h')
    if not header.is_file():
        return f"Python's headers, and '{header}' is not there (python3-dev)"
    return ''


def _compiled_again(module: nn.Module, options: dict) -> CompiledForward:
    return CompiledForward(module, **options)
