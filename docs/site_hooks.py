"""What `make docs` adds to the files of docs/: pages made of code, configs and results.

The home page is README, the API's pages follow from the modules, the tables from
configs/ and benchmarks/results. Links from docs/ to other files of the repository
become links to GitHub; one that leads nowhere stops the build.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

import yaml
from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
REPOSITORY = 'https://github.com/paperzoo/paperzoo/blob/main'
# Files of the root that are pages, and their names there.
ROOT_PAGES = {
    'README.md': 'index.md',
    'README.zh-CN.md': 'index.zh-CN.md',
    'CONTRIBUTING.md': 'contributing.md',
    'CHANGELOG.md': 'changelog.md',
    **{
        f'benchmarks/results/{name}.md': f'results/{name}.md'
        for name in ('few_shot_claims', 'mmcv_ops_cpu', 'stock_configs')
    },
}
LINK = re.compile(r'(\]\()([^)\s#]+)((?:#[^)\s]*)?\))')
FENCED = re.compile(r'(^```.*?^```|`[^`\n]+`)', re.MULTILINE | re.DOTALL)
CHINESE_BREAK = re.compile(r'(?<=[^\x00-\x7f])\n *(?=[^\x00-\x7f])')
MATH = re.compile(r'\$\$(.+?)\$\$|\$([^$\n]+?)\$', re.DOTALL)
# Scripts, repairs of the stack and the pages of `explain` are no interface.
NO_API = re.compile(
    r'paperzoo\.(?:tools|compat|startup|cli|__main__)\b.*'
    r'|paperzoo\.explain\.\w+\..*|paperzoo\.configs\b.*'
)


def docstring(file: Path) -> str:
    """Return what a Python file says of itself, or nothing."""
    return ast.get_docstring(ast.parse(file.read_text('utf-8'))) or ''


# --- the API -------------------------------------------------------------------------


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the modules with an interface and their files."""
    for file in sorted((ROOT / 'paperzoo').rglob('*.py')):
        name = '.'.join(file.relative_to(ROOT).with_suffix('').parts)
        name = name.removesuffix('.__init__')
        if not NO_API.fullmatch(name):
            yield name, file


def public_names(file: Path) -> list[str]:
    """Return the functions and classes of a file that users may call."""
    body = ast.parse(file.read_text('utf-8')).body
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [
        node.name
        for node in body
        if isinstance(node, kinds) and not node.name.startswith('_')
    ]


def api_pages() -> dict[str, str]:
    """Return the API's pages: of the package, and of each of its rooms."""
    stub = (ROOT / 'paperzoo' / '__init__.pyi').read_text()
    names = re.findall(r'^from \.(\S+) import (\w+) as', stub, re.MULTILINE)
    pages = {
        'api/index.md': '# paperzoo\n\n'
        + '`import paperzoo` loads neither torch nor mm*; its names load what they '
        'need.\n\n'
        + ''.join(f'::: paperzoo.{where}.{name}\n\n' for where, name in names)
        # Its name is that of a room, too.
        + '::: paperzoo.explain.api.explain\n\n',
    }
    rooms: dict[str, list[str]] = {}
    for name, file in modules():
        room = name.split('.')[1] if '.' in name else ''
        if room and (found := public_names(file)):
            text = f'## {name}\n\n{docstring(file)}\n\n'
            text += ''.join(f'::: {name}.{one}\n\n' for one in found)
            rooms.setdefault(room, []).append(text)
    for room, parts in rooms.items():
        pages[f'api/{room}.md'] = f'# paperzoo.{room}\n\n' + ''.join(parts)
    return pages


# --- tables --------------------------------------------------------------------------


def config_rows() -> Iterator[list[str]]:
    """Yield a row for each config that can be trained: its header, in short."""
    for file in sorted((ROOT / 'configs').rglob('*.py')):
        said = docstring(file)
        if '_base_' in file.parts or 'Run:' not in said:
            continue
        path = file.relative_to(ROOT)
        expect = re.search(
            r'^Expect: (.*?)(?=^\w+:|\Z)', said, re.MULTILINE | re.DOTALL
        )
        yield [
            f'[`{file.stem}`]({REPOSITORY}/{path})',
            said.partition('\n\n')[0],
            expect[1] if expect else '',
        ]


# The first words of a file's name, and what it is about. A file of none has its own.
RESULTS = {
    'fcos': 'FCOS',
    'knet': 'K-Net',
    'dmf': 'DMF',
    'few': 'Few-shot papers beside each other',
    'attention': 'Self-attention',
    'export': 'Exported files',
    'own': 'Own data',
    'mmcv': 'Operators',
    'coco': 'Evaluation',
}


def result_text(file: Path) -> str:
    """Return what a file of results says: what, on what, its means, where, when."""
    record = json.loads(file.read_text())
    parts = [
        f'### {file.stem}',
        f'{record["what"]}.',
        f'On: {record["data"]}.',
        means(record),
    ]
    links = [
        f'[{other.name}]({REPOSITORY}/{other.relative_to(ROOT)})'
        for other in sorted(file.parent.glob(f'{file.stem}.*'))
    ]
    parts.append(
        f'{", ".join(links)}; {record["device"]}, {record["date"][:10]}, '
        f'commit {record["commit"]}.'
    )
    return '\n\n'.join(part for part in parts if part) + '\n\n'


def means(record: dict[str, Any]) -> str:
    """Return a table of the means in a file of results, or nothing."""
    found = {
        name.removeprefix('mean_'): values
        for name, values in record.items()
        if name.startswith('mean_')
    }
    cases = list(dict.fromkeys(case for values in found.values() for case in values))
    if not cases:
        return ''
    rows = (
        [case, *(str(values.get(case, '')) for values in found.values())]
        for case in cases
    )
    return table(['mean', *(name.replace('_', ' ') for name in found)], rows)


def results_page() -> str:
    """Return the page of all results, by paper."""
    text = (
        '# Results\n\nEvery number of these pages comes from one of these files, or '
        'says whose it is. Each has its single runs, versions and the command that '
        'repeats it.\n\n'
    )
    groups: dict[str, str] = dict.fromkeys(RESULTS.values(), '')
    for file in sorted((ROOT / 'benchmarks' / 'results').glob('*.json')):
        title = RESULTS.get(file.stem.partition('_')[0], 'The stack')
        groups[title] = groups.get(title, '') + result_text(file)
    return text + ''.join(
        f'## {title}\n\n{part}' for title, part in groups.items() if part
    )


def table(columns: list[str], rows: Iterator[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ['---'] * len(columns), *rows]
    return '\n'.join(
        f'| {" | ".join(" ".join(cell.split()).replace("|", "/") for cell in row)} |'
        for row in lines
    )


def table_pages() -> dict[str, str]:
    """Return the pages of tables."""
    models = sum(
        len(yaml.safe_load(file.read_text())['Models'])
        for file in (ROOT / 'configs').rglob('metafile.yml')
    )
    return {
        'tables/configs.md': '# Configs\n\nAs their headers say it; '
        f'{models} of them are in the metafiles that `mim search paperzoo` reads. A '
        'config is named by its bare name wherever a command wants one.\n\n'
        + table(['config', 'what', 'expect'], config_rows()),
        'tables/results.md': results_page(),
    }


# --- links and formulas --------------------------------------------------------------


def page_links(text: str, source: str) -> str:
    """Return a page's text with links that lead where the site is.

    Args:
        text: Of the page.
        source: Its file, from the root of the repository.

    Raises:
        ValueError: If a link leads to no file.
    """
    at = PurePosixPath(ROOT_PAGES.get(source, source.removeprefix('docs/'))).parent

    def replaced(match: re.Match[str]) -> str:
        before, target, after = match.groups()
        if re.match(r'[a-z]+:', target):
            return match[0]
        path = normpath((PurePosixPath(source).parent / target).as_posix())
        if not (ROOT / path).exists():
            raise ValueError(f'{source}: the link {target} leads to no file')
        if path in ROOT_PAGES:
            page = ROOT_PAGES[path]
        elif path.startswith('docs/') and (ROOT / path).is_file():
            page = path.removeprefix('docs/')
        else:
            return f'{before}{REPOSITORY}/{path}{after}'
        return before + '../' * len(at.parts) + page + after

    return outside_code(LINK, replaced, text)


def outside_code(pattern: re.Pattern[str], new: Any, text: str) -> str:
    """Return a text with a pattern replaced wherever it is no code."""
    parts = FENCED.split(text)
    parts[::2] = [pattern.sub(new, part) for part in parts[::2]]
    return ''.join(parts)


def formula(match: re.Match[str]) -> str:
    """Return a formula as MathML, which browsers show without a script."""
    if match[1]:
        block = convert(match[1].strip(), display='block')
        return f'\n<div class="formula">{block}</div>\n'
    return convert(match[2])


# --- live parts: a link on GitHub, the thing itself on the site -----------------------

LIVE = re.compile(r'^\[`?([^\]`]+)`?\]\((\S+) "(source|card|figure)"\)$', re.MULTILINE)


def live(text: str, source: str) -> str:
    """Return a page's text with functions, cards and figures in place of links to them.

    Args:
        text: Of the page.
        source: Its file, from the root of the repository.

    Raises:
        ValueError: If a file or a function is not there.
    """

    def replaced(match: re.Match[str]) -> str:
        name, target, kind = match.groups()
        file = (ROOT / source).parent / target
        if not file.is_file():
            raise ValueError(f'{source}: the link {target} leads to no file')
        if kind == 'figure':
            # A page is a folder on the site.
            return f'<iframe class="figure" src="../{target}" title="{name}"></iframe>'
        if kind == 'card':
            _, found, differs = docstring(file).partition('Where we differ')
            return f'```text\n{found}{differs}\n```'
        code = file.read_text('utf-8')
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
                return f'```python\n{ast.get_source_segment(code, node)}\n```'
        raise ValueError(f'{source}: {target} has no {name}')

    return LIVE.sub(replaced, text)


# --- what MkDocs calls ---------------------------------------------------------------


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the API's pages into the navigation."""
    assert config.nav is not None
    for entry in config.nav:
        if 'API' in entry:
            entry['API'] = list(api_pages())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no files of docs/."""
    texts = {
        page: (ROOT / name).read_text('utf-8')
        for name, page in ROOT_PAGES.items()
        if (ROOT / name).exists()
    }
    for page, text in {**texts, **api_pages(), **table_pages()}.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Adapt links and formulas."""
    path = page.file.src_uri
    if path.startswith('index'):
        page.meta['hide'] = ['navigation']  # nothing but itself
    if path.startswith('results/') or path in ('tables/configs.md', 'reliability.md'):
        page.meta['hide'] = ['toc']  # room for the table
    if path.startswith(('api/', 'tables/')):
        return markdown
    sources = {page: name for name, page in ROOT_PAGES.items()}
    source = sources.get(path, f'docs/{path}')
    markdown = page_links(live(markdown, source), source)
    # A line break between two Chinese characters would be shown as a space.
    markdown = outside_code(CHINESE_BREAK, '', markdown)
    return outside_code(MATH, formula, markdown)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Say that a Chinese page is one: for screen readers and the choice of fonts."""
    if page.file.src_uri.endswith('.zh-CN.md'):
        return output.replace('<html lang="en"', '<html lang="zh-CN"')
    return output
