"""The house: who may import whom, no circles, and an example at each door."""

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'paperzoo'

# From the ground up. A room imports rooms of the lines above its own; of its own line
# only itself, so that no paper knows another one.
ORDER = [
    ['errors'],
    ['utils'],
    ['startup'],
    ['runtime'],
    ['ops'],
    ['compat'],
    ['registry'],
    ['common'],
    ['data'],
    ['attention'],
    ['fcos', 'knet', 'dmf', 'can', 'feat'],
    ['deploy'],
    ['visualization'],
    ['evaluation'],
    ['preflight'],
    ['engine'],
    ['apis'],
    ['explain'],
    ['serve'],
    ['cli'],
    ['tools'],
    ['__main__'],
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
# Who brings the remedies in, and who shows or tells of them.
MAY_IMPORT_COMPAT = {'compat', 'registry', 'startup', 'apis'}


class Import(NamedTuple):
    """One import of a module of paperzoo by another.

    Attributes:
        importer: Its name, with dots.
        imported: Its name, with dots.
        line: File and line.
    """

    importer: str
    imported: str
    line: str


def name_of(file: Path) -> str:
    return '.'.join(file.relative_to(ROOT).with_suffix('').parts).removesuffix(
        '.__init__'
    )


MODULES = {name_of(file): file for file in sorted(PACKAGE.rglob('*.py'))}


def room_of(module: str) -> str:
    return module.split('.')[1] if '.' in module else '__init__'


def walk(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield all imports: those of functions and for type hints alone count, too."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        yield from walk(child)


def imports() -> Iterator[Import]:
    for module, file in MODULES.items():
        for node in walk(ast.parse(file.read_text('utf-8'))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                assert node.level == 0, f'{file}:{node.lineno}: relative import'
                inner = [f'{node.module}.{alias.name}' for alias in node.names]
                names = [n if n in MODULES else str(node.module) for n in inner]
            for name in dict.fromkeys(names):
                if name.partition('.')[0] == 'paperzoo':
                    line = f'{file.relative_to(ROOT)}:{node.lineno}'
                    yield Import(module, name, line)


def allowed(one: Import) -> bool:
    importer, imported = room_of(one.importer), room_of(one.imported)
    if importer == imported or imported == '__init__':
        return True
    if importer == '__init__':
        return imported == 'startup'
    if imported == 'compat':
        return importer in MAY_IMPORT_COMPAT
    return LEVEL[imported] < LEVEL[importer]


def test_every_room_has_its_place() -> None:
    rooms = {room_of(module) for module in MODULES} - {'__init__'}
    assert rooms == set(LEVEL)


def test_nobody_imports_upwards() -> None:
    wrong = [
        f'{one.line} imports {one.imported}' for one in imports() if not allowed(one)
    ]
    assert not wrong, '\n'.join(wrong)


def test_nobody_imports_projects_or_scripts() -> None:
    wrong = [
        f'{file.relative_to(ROOT)}:{node.lineno}'
        for folder in ('paperzoo', 'configs')
        for file in sorted((ROOT / folder).rglob('*.py'))
        for node in walk(ast.parse(file.read_text('utf-8')))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [str(node.module)]
        )
        if name.startswith(('projects', 'benchmarks', 'tests'))
    ]
    assert not wrong, '\n'.join(wrong)


def test_no_circles() -> None:
    graph: dict[str, dict[str, str]] = {}
    for one in imports():
        if one.imported != 'paperzoo' and one.imported in MODULES:
            graph.setdefault(one.importer, {}).setdefault(one.imported, one.line)
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> list[str] | None:
        if module in path:
            circle = [*path[path.index(module) :], module]
            return [f'{graph[a][b]} imports {b}' for a, b in pairwise(circle)]
        if module in done:
            return None
        for imported in graph.get(module, {}):
            if found := visit(imported, [*path, module]):
                return found
        done.add(module)
        return None

    for module in MODULES:
        circle = visit(module, [])
        assert circle is None, 'a circle:\n' + '\n'.join(circle or [])


# Shown otherwise: scripts by their --help, repairs of the stack by what works with
# them, pages and what they trace by docs/explain.md. What mmcv's autograd calls writes
# into buffers; the functions beside it have examples.
WITHOUT_EXAMPLE = re.compile(
    r'paperzoo\.(?:tools|compat|startup|cli)\b.*'
    r'|paperzoo\.explain\.\w+\.(?:page|page_sequences|page_several|trace)\.\w+'
    r'|paperzoo\.ops\.\w+\.\w+_(?:forward|backward)\w*'
)


def is_public(node: ast.AST) -> bool:
    """Whether users call it: a function by its name, a class by its registered one."""
    if isinstance(node, ast.FunctionDef):
        return not node.name.startswith('_')
    return isinstance(node, ast.ClassDef) and any(
        'register_module' in ast.unparse(decorator) for decorator in node.decorator_list
    )


def test_what_users_call_has_an_example() -> None:
    public = [
        (f'{module}.{node.name}', node)
        for module, file in MODULES.items()
        for node in ast.parse(file.read_text('utf-8')).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and is_public(node)
    ]
    bare = {name for name, node in public if '>>>' not in str(ast.get_docstring(node))}
    wrong = sorted(name for name in bare if not WITHOUT_EXAMPLE.fullmatch(name))
    assert not wrong, '\n'.join(wrong)
    assert len(public) > 300
