"""The notebooks run, from the first cell to the last, and are kept without outputs."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from checkpoints import write_checkpoint

nbformat = pytest.importorskip('nbformat', reason='no nbformat here')
ROOT = Path(__file__).parents[1]
NOTEBOOKS = {file.stem: file for file in sorted((ROOT / 'examples').glob('*.ipynb'))}
# What a training costs a reader some minutes for.
SHORTER = {'epochs = 18 ': 'epochs = 1 ', 'pictures = 400 ': 'pictures = 8 '}


def read(name: str) -> Any:
    return nbformat.read(NOTEBOOKS[name], as_version=4)


def run(name: str, folder: Path, replaced: dict[str, str] | None = None) -> Any:
    """Run a notebook in a folder; return it with its outputs."""
    client = pytest.importorskip('nbclient', reason='no nbclient here')
    pytest.importorskip('ipykernel', reason='no ipykernel here')
    book = read(name)
    for old, new in (replaced or {}).items():
        cells = [cell for cell in book.cells if old in cell.source]
        assert len(cells) == 1, old
        cells[0].source = cells[0].source.replace(old, new)
    place = {'metadata': {'path': str(folder)}}
    # As on a shared machine: none of several cells is in a hurry.
    client.NotebookClient(book, timeout=900, resources=place).execute()
    return book


def outputs(book: Any) -> dict[str, list[Any]]:
    """Return what the cells gave, by kind."""
    found: dict[str, list[Any]] = {}
    for cell in book.cells:
        for output in cell.get('outputs', []):
            for kind, content in output.get('data', {}).items():
                found.setdefault(kind, []).append(content)
            if output.output_type == 'stream':
                found.setdefault(output.name, []).append(output.text)
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as the first notebook leaves it, with weights that find anything."""
    work = tmp_path / 'work'
    file = write_checkpoint('fcos_tiny_shapes', work / 'epoch_18.pth')
    (work / 'last_checkpoint').write_text(str(file))
    return tmp_path


def test_they_are_those_of_the_docs() -> None:
    assert set(NOTEBOOKS) == {'train', 'predict', 'look_inside', 'export'}
    page = (ROOT / 'docs' / 'python.md').read_text('utf-8')
    for name in NOTEBOOKS:
        assert f'(../examples/{name}.ipynb)' in page


@pytest.mark.parametrize('name', NOTEBOOKS)
def test_they_are_small_and_kept_without_outputs(name: str) -> None:
    book = read(name)
    nbformat.validate(book)
    assert len(book.cells) <= 12
    for cell in book.cells:
        if cell.cell_type == 'code':
            assert (cell.outputs, cell.execution_count) == ([], None)


def test_predict(folder: Path) -> None:
    found = outputs(run('predict', folder))
    assert found['image/png']
    assert found['text/plain'][0].startswith('Predictor(FCOS, 7 classes')
    assert "'category'" in found['text/plain'][-1]


@pytest.mark.slow
def test_look_inside(folder: Path) -> None:
    found = outputs(run('look_inside', folder))
    assert 'centre-ness' in found['text/plain'][-2]
    assert 'report.html' in found['text/html'][-1]
    assert (folder / 'report.html').is_file()


@pytest.mark.slow
def test_export(folder: Path) -> None:
    pytest.importorskip('onnxscript', reason='no onnxscript here')
    found = outputs(run('export', folder))
    assert (folder / 'model.onnx').is_file()
    assert 'the file: 0.' in ''.join(found['stdout'])


@pytest.mark.slow
def test_train(folder: Path) -> None:
    shutil.rmtree(folder / 'work')
    found = outputs(run('train', folder, SHORTER))
    assert (folder / 'work' / 'epoch_1.pth').is_file()
    assert 'epoch_1.pth' in found['text/plain'][1]
    assert found['image/png']
