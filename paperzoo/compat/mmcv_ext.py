"""Stand in for mmcv's compiled module `mmcv._ext` where it is not installed.

Ailment: on mmcv-lite, `import mmcv.ops`, and with it most of mmdet and mmseg, ends in
    "No module named 'mmcv._ext'", even for models that call no compiled op; compiling
    mmcv fails on most of today's set-ups.
Upstream: https://github.com/open-mmlab/mmcv/issues/2059
    https://github.com/open-mmlab/mmdetection/issues/11475
    https://github.com/open-mmlab/mmcv/issues/3325 (the build under setuptools 82)
Delete when: mmcv publishes compiled wheels for the torch versions that we support, or
    mmdet and mmseg import without `mmcv._ext`.

Where compiled mmcv is installed nothing is replaced, unless the environment variable
PAPERZOO_OPS is `standin`. Then each op that we have takes the calls with CPU tensors
(docs/ops.md says which are faster), and the compiled one keeps those with tensors of
other devices. A compiled module that cannot be loaded, say because it was built for
another torch, is replaced altogether.

The order of imports does not matter: `import paperzoo.compat` may come after an
`import mmcv.ops` or `import mmdet.models` that went well, or that failed for want of
`mmcv._ext` (import it again then).
"""

import os
import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any, NoReturn

NAME = 'mmcv._ext'
VARIABLE = 'PAPERZOO_OPS'
# What is installed is removed only when the build went well.
COMPILE = (
    "pip install 'setuptools<81' wheel ninja && pip wheel --no-deps --no-cache-dir "
    "--no-build-isolation --wheel-dir mmcv_wheel 'mmcv>=2.1,<2.2' && "
    'pip uninstall -y mmcv mmcv-lite && pip install mmcv_wheel/mmcv-*.whl'
)


# The file of `paperzoo.ops` with each op of mmcv.
_OPS = {
    'bbox_overlaps': ['bbox_overlaps'],
    'carafe': [
        *('carafe_forward', 'carafe_backward'),
        *('carafe_naive_forward', 'carafe_naive_backward'),
    ],
    'deform_conv': [
        *('deform_conv_forward', 'deform_conv_backward_input'),
        'deform_conv_backward_parameters',
        *('modulated_deform_conv_forward', 'modulated_deform_conv_backward'),
    ],
    'deform_roi_pool': ['deform_roi_pool_forward', 'deform_roi_pool_backward'],
    'focal_loss': ['sigmoid_focal_loss_forward', 'sigmoid_focal_loss_backward'],
    'masked_conv': ['masked_im2col_forward', 'masked_col2im_forward'],
    'ms_deform_attn': ['ms_deform_attn_forward', 'ms_deform_attn_backward'],
    'nms': ['nms'],
    'nms_match': ['nms_match'],
    'psa_mask': ['psamask_forward', 'psamask_backward'],
    'roi_align': ['roi_align_forward', 'roi_align_backward'],
    'roi_align_rotated': ['roi_align_rotated_forward', 'roi_align_rotated_backward'],
    'roi_pool': ['roi_pool_forward', 'roi_pool_backward'],
    'rotated_boxes': ['box_iou_rotated', 'nms_rotated'],
    'soft_nms': ['softnms'],
    'softmax_focal_loss': ['softmax_focal_loss_forward', 'softmax_focal_loss_backward'],
    'sync_bn': [
        *('sync_bn_forward_mean', 'sync_bn_forward_var', 'sync_bn_forward_output'),
        *('sync_bn_backward_param', 'sync_bn_backward_data'),
    ],
}
# The other names are the same on both sides.
_RENAMED = {
    'bbox_overlaps': 'bbox_overlaps_forward',
    'nms_match': 'nms_match_forward',
    'softnms': 'soft_nms_forward',
}
# How the names of the ops begin that are missing here, and that compiled mmcv has a
# kernel for on a CPU. It has the others for GPUs only.
_COMPILED_FOR_CPU = (
    *('active_rotated_filter', 'bezier_align', 'box_iou_quadri', 'nms_quadri'),
    *('contour_expand', 'pixel_group', 'rotated_feature_align'),
    *('dynamic_voxelize', 'hard_voxelize', 'points_in_boxes_cpu'),
)


class StandIn(ModuleType):
    """`mmcv._ext` in pure PyTorch: the ops of `paperzoo.ops`.

    Any other public name is there too, because mmcv checks at import time that each of
    its 112 ops exists; calling one raises `MissingOpError`.
    """

    def __getattr__(self, name: str) -> Callable[..., NoReturn]:
        if name.startswith('_'):
            raise AttributeError(
                f'module {NAME!r} has no attribute {name!r}', name=name
            )
        return _missing(name)


def bound_ops() -> dict[str, Callable[..., Any]]:
    """Return which of mmcv's compiled ops is which function of `paperzoo.ops`.

    Only here are these, and so torch, imported.
    """
    from paperzoo import ops

    bound: dict[str, Callable[..., Any]] = {
        'get_compiler_version': _not_compiled,
        'get_compiling_cuda_version': _not_compiled,
    }
    for file, names in _OPS.items():
        module = import_module(f'{ops.__name__}.{file}')
        bound |= {name: getattr(module, _RENAMED.get(name, name)) for name in names}
    return bound


def _not_compiled() -> str:
    """Return what mmcv's `collect_env` shows for a compiler that was not used."""
    return 'n/a'


class StandInFinder(MetaPathFinder, Loader):
    """Finds `mmcv._ext`; last on `sys.meta_path`, so that a compiled one wins.

    With `wanted` it is the first and wins itself.
    """

    def __init__(self, wanted: bool = False) -> None:
        self.wanted = wanted

    def find_spec(
        self,
        fullname: str,
        path: Any = None,  # a namespace's is no Sequence
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Return the stand-in's spec for `mmcv._ext` and nothing for any other name."""
        if fullname != NAME:
            return None
        spec = ModuleSpec(NAME, self, origin='paperzoo.ops')
        if self.wanted:
            spec.loader_state = PathFinder.find_spec(fullname, path)
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Return the compiled module if there is one, else the empty stand-in."""
        compiled = spec.loader_state
        if compiled is not None:
            try:
                module = module_from_spec(compiled)
                compiled.loader.exec_module(module)
            except ImportError:
                pass  # Built for another torch or Python: no use at all.
            else:
                return module
        return StandIn(NAME, StandIn.__doc__)

    def exec_module(self, module: ModuleType) -> None:
        """Fill in the ops."""
        if not isinstance(module, StandIn):
            prefer_stand_in(module)
            return
        vars(module).update(bound_ops())


def apply() -> None:
    """Let `import mmcv._ext` find the stand-in where no compiled one is installed.

    Costs no import of torch or mmcv, may be called any number of times, and does
    nothing without mmcv.

    Raises:
        UserError: If PAPERZOO_OPS has an unknown value.
    """
    wanted = stand_in_wanted()
    if wanted and isinstance(sys.modules.get(NAME), ModuleType):
        prefer_stand_in(sys.modules[NAME])
    finders = [f for f in sys.meta_path if isinstance(f, StandInFinder)]
    if any(finder.wanted == wanted for finder in finders):
        return
    if 'mmcv' in sys.modules or find_spec('mmcv') is not None:
        place = 0 if wanted else len(sys.meta_path)
        sys.meta_path.insert(place, StandInFinder(wanted))


def stand_in_wanted() -> bool:
    """Return whether PAPERZOO_OPS asks for the stand-in beside compiled mmcv."""
    value = os.environ.get(VARIABLE, '')
    if value not in ('', 'standin'):
        from paperzoo.errors import UserError

        raise UserError(
            f"the environment variable {VARIABLE} is '{value}'. It may be 'standin' "
            "(on CPU tensors, use paperzoo's ops even where compiled mmcv is "
            f'installed) or not set (use compiled ops where they are): unset {VARIABLE}'
        )
    return value == 'standin'


def prefer_stand_in(module: ModuleType) -> None:
    """Let the ops of a compiled module take only what is not on the CPU."""
    if isinstance(module, StandIn):
        return
    for name, op in bound_ops().items():
        compiled = getattr(module, name, None)
        if compiled is not None and not name.startswith('get_'):
            setattr(module, name, _on_cpu(op, compiled))


def _on_cpu(op: Callable[..., Any], compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls `op` for CPU tensors and else `compiled`."""
    if hasattr(compiled, '__wrapped__'):
        return compiled

    @wraps(op)
    def chosen(*args: Any, **kwargs: Any) -> Any:
        # The first tensor tells: mmcv passes all of them on one device.
        tensors = (x for x in (*args, *kwargs.values()) if hasattr(x, 'device'))
        first = next(tensors, None)
        elsewhere = first is not None and first.device.type != 'cpu'
        return (compiled if elsewhere else op)(*args, **kwargs)

    return chosen


def _missing(name: str) -> Callable[..., NoReturn]:
    """Return what stands for an op that has no pure PyTorch version."""

    def op(*_: Any, **__: Any) -> NoReturn:
        from paperzoo.errors import MissingOpError

        raise MissingOpError(missing_op(name))

    op.__name__ = op.__qualname__ = name
    return op


def missing_op(name: str) -> str:
    """Return what to say of an op that neither paperzoo nor a compiled mmcv gives.

    Args:
        name: The op's name in `mmcv._ext`.
    """
    said = (
        f"mmcv's compiled op '{name}' was called, but compiled mmcv is not "
        'installed and paperzoo has no stand-in for this op. '
    )
    needs = 'torch<2.14 and 10 to 20 minutes'
    if name.startswith(_COMPILED_FOR_CPU):
        return f'{said}Remedy: compile mmcv, with a C++ compiler, {needs}: {COMPILE}'
    return (
        f'{said}mmcv has it for GPUs only: for a CPU there is none to be had. Remedy '
        f'on a machine with a GPU: compile mmcv, with a C++ compiler, CUDA (nvcc), '
        f'{needs}: {COMPILE}'
    )
