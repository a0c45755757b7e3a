"""Looks at what `make release` has built: own files, under licences that fit.

    python .ci/release.py dist

Wheel and sdist must hold tracked files of the repository and what the build adds, and
the licence; nobody else's files are shipped. What an installation brings besides is
listed with its licence, as its own metadata say it.
"""

import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from email.message import Message
from email.parser import BytesParser
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# What the build writes into the two.
BUILT = re.compile(r'PKG-INFO|setup\.cfg|[^/]+\.(?:egg-info|dist-info)/.*')
# Of licences that can be combined with Apache-2.0 in an installation.
ALLOWED = re.compile(
    r'MIT|BSD|Apache|PSF|Python Software|MPL|Mozilla|ISC|HPND|CMU|Unlicense|Zlib|'
    r'OFL|Open Font|CC0|0BSD|Public Domain|LGPL',
    re.IGNORECASE,
)
REFUSED = re.compile(r'(?<!L)(?:A?GPL)|GNU (?:Affero )?General Public', re.IGNORECASE)


def tracked() -> set[str]:
    """Return the files of the repository."""
    listed = subprocess.run(
        ['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.splitlines())


def foreign(wheel: Iterable[str], sdist: Iterable[str], own: set[str]) -> list[str]:
    """Return what is in wheel or sdist and no file of the repository."""
    inside = [
        # `configs` lies beside the package in the repository, and in it in the wheel.
        *(name.replace('paperzoo/configs/', 'configs/', 1) for name in wheel),
        *(name.partition('/')[2] for name in sdist),
    ]
    return sorted(
        name
        for name in inside
        if name and not name.endswith('/') and name not in own
        if not BUILT.fullmatch(name)
    )


def faults(said: Message, names: list[str]) -> Iterator[str]:
    """Yield what is wrong with the metadata of a wheel, or missing: its licence."""
    for key in ('Name', 'Version', 'Summary', 'License-Expression', 'Requires-Python'):
        if not said[key]:
            yield f'metadata: no {key}'
    if said['Description-Content-Type'] != 'text/markdown':
        yield 'metadata: README is not announced as Markdown'
    if not any(name.endswith('licenses/LICENSE') for name in names):
        yield 'wheel: LICENSE is not in it'


def installed_with(requirements: Iterable[str], extras: set[str]) -> set[str]:
    """Return the names of all that these requirements bring, one through another."""
    found: set[str] = set()
    left = [(text, extras) for text in requirements]
    while left:
        text, wanted = left.pop()
        need = Requirement(text)
        name = canonicalize_name(need.name)
        asked = [{'extra': one} for one in ('', *wanted)]
        if need.marker and not any(need.marker.evaluate(one) for one in asked):
            continue
        if name in found:
            continue
        try:
            further = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        left += [(one, need.extras) for one in further]
    return found


def licence(name: str) -> str:
    """Return the licence of an installed package, as it names it."""
    said = metadata.metadata(name)
    classes = [
        one.rpartition(' :: ')[2]
        for one in said.get_all('Classifier', [])
        if one.startswith('License ::')
    ]
    text = said['License-Expression'] or ', '.join(classes) or said['License'] or ''
    return ' '.join(text.split())[:60]


def unfit(licences: dict[str, str]) -> list[str]:
    """Return the packages whose licence is none of the allowed ones."""
    return [
        f'{name}: {text or "no licence is named"}'
        for name, text in licences.items()
        if not ALLOWED.search(text) or REFUSED.search(text)
    ]


def main() -> None:
    """Check the folder that is named; end with what is wrong."""
    folder = Path(sys.argv[1])
    (wheel,), (sdist,) = folder.glob('*.whl'), folder.glob('*.tar.gz')
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
        (where,) = (name for name in names if name.endswith('.dist-info/METADATA'))
        said = BytesParser().parsebytes(opened.read(where))
    with tarfile.open(sdist) as packed:
        inside = [one.name for one in packed.getmembers() if one.isfile()]
    wrong = [f'no file of ours: {one}' for one in foreign(names, inside, tracked())]
    wrong += faults(said, names)
    extras = {'lite', 'dmf', 'export'}
    brought = installed_with(said.get_all('Requires-Dist', []), extras)
    licences = {name: licence(name) for name in sorted(brought)}
    for name, text in licences.items():
        print(f'{name:28}{text}')
    wrong += [f'licence: {one}' for one in unfit(licences)]
    print(f'{len(names)} files in the wheel, {len(inside)} in the sdist, all ours;')
    print(f'{len(licences)} packages come with [{",".join(sorted(extras))}]')
    if wrong:
        sys.exit('\n'.join(wrong))


if __name__ == '__main__':
    main()
