"""What `paperzoo doctor` looks at: versions, imports, ops, folders."""

import ast
import os
import platform
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from paperzoo import __version__
from paperzoo.apis.stack import REPAIR
from paperzoo.errors import UserError
from paperzoo.utils.messages import WITHOUT_SCREEN, lacks_screen

# Ops that compiled mmcv has for other devices only.
NOT_FOR_CPU = ('ms_deform_attn', 'roi_pool', 'sigmoid_focal_loss', 'softmax_focal_loss')


# Nothing heavy is imported above: torch or mmcv may be what is broken.

# Import name, dists that provide it: upstream first.
STACK = {
    'mmengine': ('mmengine', 'mmengine-lite', 'onedl-mmengine'),
    'mmcv': ('mmcv', 'mmcv-lite', 'mmcv-full', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmseg': ('mmsegmentation', 'onedl-mmsegmentation'),
}
FORKS = 'onedl-'
EVALUATORS = {'pycocotools': 'pycocotools', 'hotcoco': 'hotcoco'}


class Trouble(NamedTuple):
    """Something that is wrong, and the command that repairs it."""

    what: str
    command: str
    stops_work: bool = True


class Report:
    """The table's rows, the source of each op, and what is wrong."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.ops: dict[str, str] = {}
        self.troubles: list[Trouble] = []
        self.loaded: dict[str, ModuleType] = {}

    @property
    def stops_work(self) -> bool:
        """Whether something is wrong that stops work."""
        return any(trouble.stops_work for trouble in self.troubles)

    def wrong(self, what: str, command: str, *, stops_work: bool = True) -> None:
        """Note something that is wrong."""
        self.troubles.append(Trouble(what, command, stops_work))

    def load(self, module: str, package: str, command: str) -> bool:
        """Import a module; note what went wrong, with the command that repairs it."""
        try:
            self.loaded[module] = import_module(module)
        except (Exception, SystemExit) as error:  # A broken package can raise anything.
            text = ' '.join(str(error).split())
            said = f'{type(error).__name__}: {textwrap.shorten(text, 300)}'
            self.rows[package] = f'{self.rows.get(package, "")} BROKEN'.strip()
            repair = special_command(error, package) or command
            self.wrong(f'`import {module}` fails: {said}', repair)
            return False
        return True


def examine() -> Report:
    """Return what this machine has, whatever of it is broken.

    Example:
        >>> from paperzoo.apis.diagnostics import examine
        >>> list(examine().rows)[:2]
        ['paperzoo', 'Python']
    """
    report = Report()
    report.rows['paperzoo'] = f'{__version__} in {Path(__file__).parents[1]}'
    _python(report)
    _stack_versions(report)
    usable = _torch(report) and _remedies(report)
    if usable and _stack_imports(report):
        note_ops(report)
    for module, dist in EVALUATORS.items():
        _evaluator(report, module, dist)
    _mim(report)
    _folders(report)
    return report


def wanted_versions(dist: str) -> str:
    """Return the versions of a dist that paperzoo's own metadata asks for.

    An empty text means any: where paperzoo is not installed, only on the path.

    Args:
        dist: Upstream's or paperzoo's own requirement.

    Example:
        >>> from paperzoo.apis.diagnostics import wanted_versions
        >>> wanted_versions('torch'), wanted_versions('mmcv-full')
        ('>=2.6', '>=2.1,<2.2')
    """
    try:
        lines = metadata.requires('paperzoo') or []
    except metadata.PackageNotFoundError:
        return ''
    known = {one.name: one.specifier for one in map(Requirement, lines)}
    if dist not in known:
        # mmcv-full and mmengine-lite are the same code under another name.
        provided = next((dists for dists in STACK.values() if dist in dists), ())
        dist = next((name for name in provided if name in known), dist)
    ranges = sorted(map(str, known.get(dist, SpecifierSet())), reverse=True)
    return ','.join(ranges)


def fits(version: str, wanted: str) -> bool:
    """Return whether a version lies in a range; a candidate counts as its release.

    Args:
        version: Such as `2.1.0rc1` or `2.13.0+cpu`.
        wanted: Such as `>=2.1,<2.2`.

    Example:
        >>> from paperzoo.apis.diagnostics import fits
        >>> fits('2.10.0', '>=2.1,<2.2'), fits('2.1.0rc1', '>=2.1,<2.2')
        (False, True)
    """
    try:
        return Version(version).base_version in SpecifierSet(wanted)
    except InvalidVersion:
        return False


def version_of(dist: str) -> str | None:
    """Return the version of an installed dist, or None.

    Args:
        dist: As pip names it.

    Example:
        >>> from paperzoo.apis.diagnostics import version_of
        >>> version_of('no-such-dist') is None
        True
    """
    try:
        return metadata.version(dist)
    except (metadata.PackageNotFoundError, KeyError):
        return None


def special_command(error: BaseException, package: str) -> str | None:
    """Return the command that repairs a frequent error of an import, or None.

    Args:
        error: What the import raised.
        package: What was imported.

    Example:
        >>> from paperzoo.apis.diagnostics import special_command
        >>> special_command(ModuleNotFoundError(name='ftfy'), 'mmseg')
        'pip install ftfy'
    """
    if lacks_screen(error):
        return WITHOUT_SCREEN
    if isinstance(error, AssertionError):
        return REPAIR  # mmdet and mmseg assert the versions of the others.
    if isinstance(error, ModuleNotFoundError):
        missing = (error.name or '').partition('.')[0]
        if missing and missing not in (package, *STACK):
            return f'pip install {missing}'
    return None


def _python(report: Report) -> None:
    version = platform.python_version()
    report.rows['Python'] = f'{version} on {platform.system()} {platform.machine()}'
    if sys.version_info >= (3, 14):
        report.wrong(
            f'Python {version} is untested; 3.11 to 3.13 are supported',
            'python3.13 -m venv NEW_FOLDER',
            stops_work=False,
        )


def _torch(report: Report) -> bool:
    """Note torch and its devices; return whether it can be imported."""
    version = version_of('torch')
    report.rows['torch'] = version or 'missing'
    if find_spec('torch') is None:
        report.wrong('torch is not installed', 'pip install torch')
        return False
    again = 'pip install --force-reinstall torch'
    if not report.load('torch', 'torch', again):
        return False
    torch = report.loaded['torch']
    try:
        version = str(torch.__version__)
        capability = torch.backends.cpu.get_cpu_capability()
        cuda = torch.version.cuda or 'not built in'
        numbers = range(torch.cuda.device_count())
        from paperzoo.utils.precision import native_bfloat16

        devices = ', '.join(map(torch.cuda.get_device_name, numbers)) or 'none'
    except Exception as error:
        report.rows['torch'] += ' BROKEN'
        report.wrong(f'torch is incomplete: {error!r}', again)
        return False
    report.rows['torch'] = version
    report.rows['CUDA'] = f'{cuda}; devices: {devices}'
    half = 'computes in' if native_bfloat16('cpu') else 'has no'
    report.rows['CPU'] = f'{capability}, {os.cpu_count()} cores, {half} bfloat16'
    wanted = wanted_versions('torch')
    if not fits(version, wanted):
        report.wrong(f'torch {version} is not {wanted}', f"pip install 'torch{wanted}'")
    return True


def _stack_versions(report: Report) -> None:
    """Note which dists provide each package of the OpenMMLab stack."""
    for module, dists in STACK.items():
        found = {dist: version for dist in dists if (version := version_of(dist))}
        listed = ', '.join(f'{dist} {version}' for dist, version in found.items())
        there = find_spec(module) is not None
        report.rows[module] = listed or ('of unknown origin' if there else 'missing')
        if len(found) > 1:
            names = ' '.join(found)
            report.wrong(
                f'{" and ".join(found)} are both installed, one over the other',
                f'pip uninstall -y {names} && {REPAIR}',
            )
        elif not there:
            users = {'mmdet': 'detection configs', 'mmseg': 'semantic configs'}
            lost = f': no {users[module]}' if module in users else ''
            report.wrong(
                f'{module} is not installed{lost}', REPAIR, stops_work=not lost
            )
        for dist, version in found.items():
            wanted = wanted_versions(dist)
            if not dist.startswith(FORKS) and not fits(version, wanted):
                report.wrong(
                    f'{dist} {version} is not {wanted}', f"pip install '{dist}{wanted}'"
                )


def _remedies(report: Report) -> bool:
    """Apply paperzoo's remedies; return whether that went well."""
    wrong_option = os.environ.get('PAPERZOO_OPS', '') not in ('', 'standin')
    command = 'unset PAPERZOO_OPS' if wrong_option else REPAIR
    return report.load('paperzoo.compat', 'paperzoo', command)


def _stack_imports(report: Report) -> bool:
    """Import the stack in order; return whether mmcv can be imported."""
    for module, dists in STACK.items():
        if find_spec(module) is None:
            if module in ('mmengine', 'mmcv'):
                break  # The others need it; it has been noted.
            continue
        dist = next((name for name in dists if version_of(name)), dists[0])
        wanted = '' if dist.startswith(FORKS) else wanted_versions(dist)
        command = f"pip install --force-reinstall --no-deps '{dist}{wanted}'"
        if not report.load(module, module, command) and module in ('mmengine', 'mmcv'):
            break
    return 'mmcv' in report.loaded


def _evaluator(report: Report, module: str, dist: str) -> None:
    report.rows[dist] = version_of(dist) or 'missing'
    if find_spec(module) is None:
        report.wrong(f'{dist} is not installed: no COCO', f'pip install {dist}')
        return
    report.load(module, dist, f'pip install --force-reinstall --no-deps {dist}')


def _mim(report: Report) -> None:
    fork = version_of('onedl-mim')
    version = version_of('openmim')
    other = f'onedl-mim {fork}' if fork else 'missing'
    report.rows['mim'] = f'openmim {version}' if version else other
    if version and find_spec('pkg_resources') is None:
        setuptools = version_of('setuptools')
        said = f'setuptools {setuptools} has no' if setuptools else 'there is no'
        repair = "pip install 'setuptools<81'"
        what = f'mim does not start: {said} pkg_resources. paperzoo needs no mim'
        report.wrong(what, repair, stops_work=False)


def _folders(report: Report) -> None:
    from paperzoo.data.paths import cache_root

    given = os.environ.get('PAPERZOO_DATA')
    data = Path(os.path.expanduser(given or 'data'))
    report.rows['PAPERZOO_DATA'] = f'{given or "not set: data/"} ({_state(data)})'
    if given and not data.is_dir():
        report.wrong(
            f"PAPERZOO_DATA is '{given}', which is no folder",
            'export PAPERZOO_DATA=FOLDER_THAT_HOLDS_coco',
            stops_work=False,
        )
    try:
        cache = cache_root()
    except UserError as error:
        report.rows['PAPERZOO_CACHE'] = 'not set, and there is no home'
        command = 'export PAPERZOO_CACHE=WRITABLE_FOLDER'
        report.wrong(str(error), command, stops_work=False)
        return
    report.rows['PAPERZOO_CACHE'] = f'{cache} ({_state(cache)})'
    if 'not writable' in _state(cache):
        said = f"PAPERZOO_CACHE '{cache}' is not writable: no generated data sets"
        report.wrong(said, 'export PAPERZOO_CACHE=WRITABLE_FOLDER')


def _state(folder: Path) -> str:
    """Return whether a folder exists and can be written, or else be made."""
    if folder.exists() and not folder.is_dir():
        return 'not a folder, not writable'
    above = (folder.absolute(), *folder.absolute().parents)
    nearest = next(path for path in above if path.exists())
    writable = 'writable' if os.access(nearest, os.W_OK | os.X_OK) else 'not writable'
    return f'{"exists" if folder.is_dir() else "does not exist"}, {writable}'


def ops_of_mmcv(folder: Path) -> Iterator[str]:
    """Yield the names of the compiled ops that mmcv's Python files ask for.

    Args:
        folder: Of `mmcv.ops`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.apis.diagnostics import ops_of_mmcv
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, 'a.py').write_text("load_it.load_ext('_ext', ['nms'])")
        ...     list(ops_of_mmcv(Path(folder)))
        ['nms']
    """
    for file in sorted(folder.glob('*.py')):
        yield from ops_of_file(file)


def ops_of_file(file: Path) -> Iterator[str]:
    """Yield the names of the compiled ops that one of mmcv's files asks for.

    Args:
        file: The file.

    Example:
        >>> import mmcv
        >>> from pathlib import Path
        >>> from paperzoo.apis.diagnostics import ops_of_file
        >>> list(ops_of_file(Path(mmcv.__file__).parent / 'ops' / 'psa_mask.py'))
        ['psamask_forward', 'psamask_backward']
    """
    for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call) and len(node.args) == 2:
            function, names = node.func, node.args[1]
            called = isinstance(function, ast.Attribute) and function.attr
            if called == 'load_ext' and isinstance(names, ast.List):
                yield from map(ast.literal_eval, names.elts)


def note_ops(report: 'Report') -> None:
    """Note which `mmcv._ext` is in use and where each op comes from.

    Args:
        report: Of which mmcv has been loaded.

    Example:
        >>> import mmcv
        >>> from paperzoo.apis.diagnostics import Report, note_ops
        >>> report = Report()
        >>> report.loaded['mmcv'] = mmcv
        >>> note_ops(report)
        >>> report.ops['nms'] in ('stand-in', 'compiled')
        True
    """
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
