"""`import paperzoo`: light; names lazy and typed; remedies attach with the stack."""

import subprocess
import sys
from pathlib import Path

import pytest
from own_process import python

ROOT = Path(__file__).parents[1]
NAMES = {'load', 'load_config', 'build_model', 'train'}
ROOMS = {'attention', 'can', 'dmf', 'fcos', 'feat', 'knet'}


def test_the_names_are_there_and_nothing_heavy_is() -> None:
    said = python("""
        import sys, paperzoo
        heavy = {'torch', 'numpy', 'cv2', 'mmengine', 'mmcv', 'mmdet', 'packaging'}
        print(dir(paperzoo), dir(paperzoo.knet), heavy & set(sys.modules))
    """)
    for name in NAMES | ROOMS | {'KNet', 'KNetSemanticHead'}:
        assert f"'{name}'" in said
    assert said.endswith('set()')


def test_each_name_is_what_it_says() -> None:
    code = """
        import paperzoo, paperzoo.apis.build, paperzoo.apis.config
        import paperzoo.apis.inference, paperzoo.apis.training
        assert paperzoo.load is paperzoo.apis.inference.load
        assert paperzoo.train is paperzoo.apis.training.train
        assert paperzoo.load_config is paperzoo.apis.config.load_config
        assert paperzoo.build_model is paperzoo.apis.build.build_model
        assert paperzoo.knet.KNet.__name__ == 'KNet'
    """
    assert python(code) == ''


@pytest.mark.slow
def test_mypy_knows_their_types(tmp_path: Path) -> None:
    pytest.importorskip('mypy')
    file = tmp_path / 'uses.py'
    file.write_text(
        'import paperzoo\n'
        'reveal_type(paperzoo.load)\n'
        'reveal_type(paperzoo.load("a.pth")("a.jpg").boxes)\n'
        'reveal_type(paperzoo.load("a.pth")(["a.jpg"]))\n'
        'reveal_type(paperzoo.train)\n'
        'reveal_type(paperzoo.knet.KNet)\n'
        'reveal_type(paperzoo.fcos.FCOSHead)\n'
        'paperzoo.load(3)\n'
    )
    done = subprocess.run(
        [sys.executable, '-m', 'mypy', '--ignore-missing-imports', str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stdout.splitlines() if 'uses.py' in line]
    load, boxes, several, train, knet, fcos, wrong = lines
    assert 'ImageModel' in load  # a Predictor, or an exported file
    assert 'Any' not in load.partition('->')[2]
    assert 'numpy.ndarray' in boxes
    assert '32' in boxes
    assert '| None' in boxes
    assert 'list[paperzoo.apis.results.Result]' in several
    assert 'Trained' in train
    assert 'paperzoo.knet.detector.KNet' in knet
    assert 'paperzoo.fcos.head.FCOSHead' in fcos
    assert 'error: Argument 1 to "load"' in wrong


def test_mathematics_alone_patches_nothing() -> None:
    """Importing a paper's functions loads neither the stack nor the remedies."""
    said = python("""
        import sys
        import paperzoo.fcos.geometry
        import paperzoo.knet
        loaded = {name.partition('.')[0] for name in sys.modules}
        print(loaded & {'mmengine', 'mmcv', 'mmdet', 'mmseg', 'cv2', 'matplotlib'},
              'paperzoo.compat' in sys.modules)
    """)
    assert said == 'set() False'


STATE = """
        import sys
        import mmengine.runner.checkpoint as mm
        ours = mm.load_from_local.__module__ == 'paperzoo.compat.checkpoints'
        print('paperzoo.compat' in sys.modules and ours)
"""


@pytest.mark.parametrize(
    'imports',
    [
        'import paperzoo, mmengine',
        'import paperzoo, mmcv',
        'import paperzoo, mmdet',
        'import paperzoo, mmseg',
        'import paperzoo; from mmengine.runner import Runner',
        'import mmengine, paperzoo, mmcv',
        'import mmengine, paperzoo, mmdet',
        'import mmengine, mmcv, paperzoo, mmdet',
        'import mmengine, mmcv, paperzoo, mmcv.ops',
        'import mmengine, paperzoo, paperzoo.registry',
        # Who only asks where a package lies has not imported it.
        'import importlib.util, paperzoo; importlib.util.find_spec("mmengine"); '
        'import mmengine',
        'import importlib.util, paperzoo; importlib.util.find_spec("mmdet"); '
        'import mmdet',
    ],
)
def test_the_remedies_attach_with_the_stack(imports: str) -> None:
    assert (
        python(f"""
        {imports}{STATE}""")
        == 'True'
    )


@pytest.mark.parametrize(
    'code',
    [
        'import paperzoo',
        'import paperzoo, torch',
        'import importlib.util, paperzoo; importlib.util.find_spec("mmdet")',
    ],
)
def test_without_the_stack_they_do_not(code: str) -> None:
    said = python(f'{code}; import sys; print("paperzoo.compat" in sys.modules)')
    assert said == 'False'


def test_explain_is_there_and_typed(tmp_path: Path) -> None:
    said = python("""
        import paperzoo
        report = paperzoo.explain('attention_tagging', items=[0], device='cpu')
        print(type(report).__name__, 'explain' in dir(paperzoo))
    """)
    assert said.endswith('Report True')
    script = tmp_path / 'script.py'
    script.write_text("""import paperzoo
reveal_type(paperzoo.explain('attention_tagging', items=[0]))
reveal_type(paperzoo.load('a.pth')('a.jpg'))
""")
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'mypy',
            '--config-file',
            ROOT / 'pyproject.toml',
            script,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert '"paperzoo.explain.api.Report"' in done.stdout
    assert '"paperzoo.apis.results.Result"' in done.stdout
