"""--vis: TensorBoard, Weights & Biases and MLflow, with stand-ins for the packages."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from mmengine.config import Config
from mmengine.registry import VISUALIZERS

from paperzoo.apis import vis_backends
from paperzoo.errors import UserError


@pytest.fixture
def cfg(tmp_path: Path, request: pytest.FixtureRequest) -> Config:
    return Config(
        dict(
            work_dir=str(tmp_path / 'run'),
            visualizer=dict(
                type='Visualizer',
                name=request.node.name,
                vis_backends=[dict(type='LocalVisBackend')],
            ),
        )
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vis_backends, 'find_spec', lambda name: object())
    for name in ('WANDB_MODE', 'WANDB_API_KEY', 'MLFLOW_TRACKING_URI'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('NETRC', str(tmp_path / 'netrc'))


class FakeWandb(ModuleType):
    """What mmengine calls of wandb, kept for the test."""

    def __init__(self) -> None:
        super().__init__('wandb')
        self.init_options: dict = {}
        self.logged: list[dict] = []

    def init(self, **options: object) -> None:
        self.init_options = options

    def log(self, values: dict, **_: object) -> None:
        self.logged.append(values)


class FakeMLflow(ModuleType):
    """What mmengine calls of mlflow, kept for the test."""

    def __init__(self) -> None:
        super().__init__('mlflow')
        self.calls: dict[str, object] = {}

    def get_experiment_by_name(self, name: str) -> None:
        self.calls['asked'] = name

    def create_experiment(self, name: str, **_: object) -> None:
        self.calls['created'] = name

    def set_experiment(self, name: str) -> None:
        self.calls['experiment'] = name

    def set_tracking_uri(self, uri: str) -> None:
        self.calls['uri'] = uri

    def set_tag(self, key: str, value: str) -> None:
        self.calls[key] = value

    def log_metrics(self, values: dict, step: int) -> None:
        self.calls['metrics'] = (values, step)


@pytest.mark.parametrize('name', vis_backends.BACKENDS)
def test_a_missing_package_is_named_with_the_command(cfg, name, monkeypatch) -> None:
    monkeypatch.setattr(vis_backends, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match=f'--vis {name} .*pip install {name}'):
        vis_backends.add_backend(cfg, name)
    assert len(cfg.visualizer.vis_backends) == 1


def test_a_config_without_visualizer_is_one_message(cfg, installed) -> None:
    cfg.pop('visualizer')
    with pytest.raises(UserError, match='visualizer=dict'):
        vis_backends.add_backend(cfg, 'tensorboard')


def test_a_backend_of_the_config_is_not_doubled(cfg, installed) -> None:
    for _ in range(2):
        vis_backends.add_backend(cfg, 'tensorboard')
    kinds = [one.type for one in cfg.visualizer.vis_backends]
    assert kinds == ['LocalVisBackend', 'TensorboardVisBackend']


def scalars_of(cfg: Config) -> list[dict]:
    visualizer = VISUALIZERS.build({**cfg.visualizer, 'save_dir': cfg.work_dir})
    visualizer.add_scalars({'loss': 0.5}, step=7)
    (file,) = Path(cfg.work_dir).rglob('scalars.json')
    return [json.loads(row) for row in file.read_text().splitlines()]


@pytest.mark.parametrize('login', [None, 'key', 'netrc'])
def test_wandb_gets_the_numbers(cfg, installed, monkeypatch, login, tmp_path) -> None:
    if login == 'key':
        monkeypatch.setenv('WANDB_API_KEY', 'secret')
    if login == 'netrc':
        (tmp_path / 'netrc').write_text('machine api.wandb.ai login user')
    fake = FakeWandb()
    monkeypatch.setitem(sys.modules, 'wandb', fake)
    vis_backends.add_backend(cfg, 'wandb')
    assert scalars_of(cfg) == [{'loss': 0.5, 'step': 7}]
    assert fake.logged == [{'loss': 0.5}]
    assert fake.init_options['project'] == 'paperzoo'
    assert fake.init_options['name'] == 'run'
    assert fake.init_options.get('mode') == (None if login else 'offline')


def test_wandb_mode_of_the_user_is_kept(cfg, installed, monkeypatch) -> None:
    monkeypatch.setenv('WANDB_MODE', 'disabled')
    vis_backends.add_backend(cfg, 'wandb')
    assert 'mode' not in cfg.visualizer.vis_backends[-1].init_kwargs


@pytest.mark.parametrize('uri', [None, 'http://localhost:5000'])
def test_mlflow_gets_the_numbers(cfg, installed, monkeypatch, uri) -> None:
    if uri:
        monkeypatch.setenv('MLFLOW_TRACKING_URI', uri)
    fake = FakeMLflow()
    monkeypatch.setitem(sys.modules, 'mlflow', fake)
    vis_backends.add_backend(cfg, 'mlflow')
    scalars_of(cfg)
    assert fake.calls['uri'] == (uri or f'sqlite:///{cfg.work_dir}/mlflow.db')
    assert fake.calls['experiment'] == 'paperzoo'
    assert fake.calls['mlflow.runName'] == 'run'
    assert fake.calls['metrics'] == ({'loss': 0.5}, 7)


def test_tensorboard_writes_events(cfg) -> None:
    pytest.importorskip('tensorboard')
    vis_backends.add_backend(cfg, 'tensorboard')
    scalars_of(cfg)
    assert list(Path(cfg.work_dir).rglob('events.out.tfevents*'))
