"""What `paperzoo doctor` finds out about mmcv's ops: their sources and devices."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paperzoo.tools._examine import Report

# Ops that compiled mmcv has for other devices only.
NOT_FOR_CPU = ('ms_deform_attn', 'roi_pool', 'sigmoid_focal_loss', 'softmax_focal_loss')


def ops_of_mmcv(folder: Path) -> Iterator[str]:
    """Yield the names of the compiled ops that mmcv's Python files ask for."""
    for file in sorted(folder.glob('*.py')):
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Call) and len(node.args) == 2:
                function, names = node.func, node.args[1]
                called = isinstance(function, ast.Attribute) and function.attr
                if called == 'load_ext' and isinstance(names, ast.List):
                    yield from map(ast.literal_eval, names.elts)


def note_ops(report: 'Report') -> None:
    """Note which `mmcv._ext` is in use and where each op comes from."""
    from paperzoo.compat import mmcv_ext

    rebuild = f'export PAPERZOO_OPS=standin   # or compile again: {mmcv_ext.COMPILE}'
    if not report.load(mmcv_ext.NAME, mmcv_ext.NAME, rebuild):
        return
    ext = report.loaded[mmcv_ext.NAME]
    names = set(ops_of_mmcv(Path(str(report.loaded['mmcv'].__file__)).parent / 'ops'))
    for name in sorted(names - {'get_compiler_version', 'get_compiling_cuda_version'}):
        if isinstance(ext, mmcv_ext.StandIn):
            report.ops[name] = 'stand-in' if name in vars(ext) else 'missing'
        elif not hasattr(ext, name):
            report.ops[name] = 'missing'
        else:
            ours = hasattr(getattr(ext, name), '__wrapped__')
            theirs = 'compiled'
            if name.startswith(NOT_FOR_CPU):
                theirs = 'compiled, but not for CPU tensors'
            report.ops[name] = 'stand-in on CPU tensors' if ours else theirs
    if isinstance(ext, mmcv_ext.StandIn):
        report.rows[mmcv_ext.NAME] = 'stand-in of paperzoo'
    else:
        option = mmcv_ext.stand_in_wanted()
        note = '; stand-in on CPU tensors (PAPERZOO_OPS)' if option else ''
        report.rows[mmcv_ext.NAME] = f'compiled{note}'
        _compiled_devices(report, ext, option)


def _compiled_devices(report: 'Report', ext: ModuleType, option: bool) -> None:
    """Note for which devices the ops were not compiled; `option` is PAPERZOO_OPS."""
    from paperzoo.compat.mmcv_ext import COMPILE

    cuda = getattr(ext, 'get_compiling_cuda_version', lambda: 'unknown')()
    gpu = import_module('torch').cuda.is_available()
    report.rows['mmcv._ext'] += f'; CUDA: {cuda}'
    if cuda == 'not available' and gpu:
        report.wrong(
            'mmcv was compiled without CUDA: its ops take no tensors of a GPU',
            "pip uninstall -y mmcv && pip install 'paperzoo[lite]'   # or compile: "
            f'export FORCE_CUDA=1 && {COMPILE}',
        )
    lost = [op for op in NOT_FOR_CPU if any(name.startswith(op) for name in vars(ext))]
    if lost and not option:
        report.wrong(
            f'compiled mmcv has no {", ".join(lost)} for CPU tensors',
            'export PAPERZOO_OPS=standin',
            stops_work=False,
        )
