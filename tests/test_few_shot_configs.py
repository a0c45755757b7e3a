"""Every few-shot config builds, learns with every parameter and predicts."""

import ast
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import Tensor

from paperzoo.apis.config import config_folders
from paperzoo.dmf import ResNet12
from paperzoo.registry import DATASETS, METRICS, MODELS

FOLDER = config_folders()[0]
ROOT = Path(__file__).parents[1]
SIDE = 28
PAPERS = ('can', 'dmf', 'feat')
CONFIGS = sorted(
    path
    for paper in PAPERS
    for path in (*FOLDER.glob(f'{paper}_*.py'), *(FOLDER / paper).rglob('*.py'))
)
by_name = pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
RESNET12 = [path for path in CONFIGS if 'resnet12' in path.stem]


def load(path: Path) -> Config:
    cfg = Config.fromfile(str(path))
    init_default_scope(cfg.default_scope)
    return cfg


def small_model(cfg: Config) -> torch.nn.Module:
    """Build the model with narrow stages; groups keep dividing the channels."""
    assert cfg.model.backbone.type is ResNet12
    cfg.model.backbone.widths = (4, 4, 8, 16)
    cfg.model.feat_channels = 16
    if 'positions' in cfg.model:
        # The images of `batch` and what the poolings leave of them.
        side = SIDE
        for pools in cfg.model.backbone.get('pools', (True, True, True, False)):
            side = -(-side // (2 if pools else 1))
        cfg.model.update(positions=side**2, reduction=2)
    if cfg.model.get('meta_filter'):
        cfg.model.meta_filter.groups = min(cfg.model.meta_filter.groups // 40 or 1, 16)
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


def batch(cfg: Config, test_mode: bool = False) -> dict[str, Tensor]:
    dataset = cfg.train_dataloader.dataset
    shots, ways, side = dataset.shots, dataset.ways, SIDE
    generator = torch.Generator().manual_seed(1)

    def images(each: int) -> Tensor:
        size = (2, ways * each, 3, side, side)
        return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)

    def labels(each: int) -> Tensor:
        return torch.arange(ways).repeat_interleave(each).expand(2, -1)

    def classes(each: int) -> Tensor:
        drawn = labels(each) * 3 + torch.tensor([[0], [1]])
        return torch.full_like(drawn, -1) if test_mode else drawn

    return {
        f'{part}{kind}': function(each)
        for part, each in (('support', shots), ('query', 2))
        for kind, function in (('', images), ('_label', labels), ('_class', classes))
    }


@by_name
def test_every_parameter_learns(path: Path) -> None:
    cfg = load(path)
    model = small_model(cfg).train()
    data = model.data_preprocessor(batch(cfg), True)
    total, values = model.parse_losses(model(**data, mode='loss'))
    total.backward()
    without = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert not without
    assert torch.isfinite(total)
    assert values['loss_global'] > 0


@by_name
def test_predicts_the_same_with_and_without_images(path: Path) -> None:
    cfg = load(path)
    model = small_model(cfg).eval()
    data = batch(cfg, test_mode=True)
    with torch.no_grad():
        found = model.test_step(data)
        normal = model.data_preprocessor.normalize
        support, query = (
            model.extract_feat(normal(data[part].flatten(0, 1))).unflatten(0, (2, -1))
            for part in ('support', 'query')
        )
        ways = cfg.train_dataloader.dataset.ways
        scores = model.predict_from_feats(support, data['support_label'], query, ways)
    assert scores.shape == (*data['query_label'].shape, ways)
    for own, prediction in zip(scores, found, strict=True):
        torch.testing.assert_close(prediction['pred_label'], own.argmax(-1))


@by_name
def test_splits_are_not_confused(path: Path) -> None:
    cfg = load(path)
    names = {}
    for phase in ('train', 'val', 'test'):
        loader = cfg.get(f'{phase}_dataloader')
        if loader is None:
            assert cfg.get(f'{phase}_cfg') is None
            assert cfg.default_hooks.checkpoint.get('save_best') is None
            continue
        dataset = loader.dataset
        names[phase] = dataset.split
        assert DATASETS.get('EpisodeDataset') is dataset.type
        assert dataset.get('test_mode', False) is (phase != 'train')
        assert dataset.split not in dataset.disjoint_from
        if phase != 'train':
            evaluator = cfg[f'{phase}_evaluator']
            assert METRICS.get('FewShotAccuracy') is evaluator.type
            assert evaluator.split == dataset.split
    assert len(set(names.values())) == len(names)
    for phase, split in names.items():
        others = set(names.values()) - {split}
        assert others <= set(cfg[f'{phase}_dataloader'].dataset.disjoint_from)
    assert cfg.test_dataloader.dataset.episodes == 2000
    assert cfg.test_dataloader.dataset.queries == 15


@pytest.mark.parametrize('path', RESNET12, ids=lambda path: path.stem)
def test_the_backbone_is_of_full_width(path: Path) -> None:
    cfg = load(path)
    with torch.device('meta'):
        model = MODELS.build(cfg.model.backbone)
    assert model(torch.empty(1, 3, 84, 84, device='meta'))[-1].shape[1] == 640


def test_the_headline_of_dmf_has_the_papers_numbers() -> None:
    cfg = load(FOLDER / 'dmf_resnet12.py')
    assert cfg.train_dataloader.dataset.episodes == 1200
    assert cfg.train_dataloader.dataset.queries * 5 == 30
    assert cfg.train_dataloader.batch_size == 4
    assert cfg.train_cfg.max_epochs == 95
    with torch.device('meta'):
        model = MODELS.build(
            {**cfg.model, 'data_preprocessor': None, 'num_classes': None}
        )
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == pytest.approx(13.41e6 - 0.04e6, rel=0.005)


def test_glyphs_demo_takes_a_step_of_real_episodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the data set of the config to its loss, with its own collation."""
    root = tmp_path / 'data' / 'toy'
    root.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in ('train', 'val', 'test'):
        names = {f'{split}{label}': label for label in range(5)}
        content = {
            'data': rng.integers(0, 256, (100, 32, 32), dtype=np.uint8),
            'labels': np.arange(5).repeat(20),
            'catname2label': names,
        }
        (root / f'{split}.pkl').write_bytes(pickle.dumps(content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('PAPERZOO_DATA', raising=False)
    cfg = load(FOLDER / 'dmf' / 'dmf_tiny_glyphs.py')
    dataset = cfg.train_dataloader.dataset
    dataset.data_root = 'data/toy/'
    built = DATASETS.build(dataset)
    collate = cfg.train_dataloader.collate_fn.type
    data = collate([built[0], built[1]])
    assert data['support'].shape == (2, 5, 3, 28, 28)
    model = MODELS.build(cfg.model)
    total, values = model.parse_losses(
        model(**model.data_preprocessor(data, True), mode='loss')
    )
    # Untrained: the global loss is near the logarithm of the number of classes.
    assert values['loss_global'].item() == pytest.approx(np.log(200), rel=0.2)
    assert torch.isfinite(total)


def test_published_numbers_agree() -> None:
    """Metafile, README and the config's header give the same number of the authors."""
    folder = ROOT / 'configs' / 'dmf'
    models = yaml.safe_load((folder / 'metafile.yml').read_text())['Models']
    rows = (folder / 'README.md').read_text().splitlines()
    assert len(models) == 4
    for model in models:
        number = model['Results'][0]['Metrics']['accuracy']
        header = ast.get_docstring(ast.parse((ROOT / model['Config']).read_text()))
        assert f'accuracy {number:.2f} ' in header
        assert model['Metadata']['Number reported by'] == 'authors'
        (row,) = (row for row in rows if row.startswith(f'| [`{model["Name"]}`]'))
        assert f'| {number:.2f} ' in row


@pytest.mark.parametrize('paper', PAPERS)
def test_readme_lists_every_config(paper: str) -> None:
    text = (ROOT / 'configs' / paper / 'README.md').read_text()
    own = [path for path in CONFIGS if path.is_relative_to(FOLDER / paper)]
    own += FOLDER.glob(f'{paper}_*.py')
    missing = [path.stem for path in own if f'`{path.stem}`' not in text]
    assert not missing


@pytest.mark.parametrize('path', sorted(FOLDER.rglob('can_*.py')), ids=lambda p: p.stem)
def test_positions_are_those_of_the_map(path: Path) -> None:
    """Of the images that the pipeline makes, which the model cannot know."""
    cfg = load(path)
    dataset = cfg.test_dataloader.dataset
    sizes = [step.get('size') for step in dataset.pipeline if 'size' in step]
    side = sizes[-1] if sizes else IMAGES[dataset.data_root]
    with torch.device('meta'):
        backbone = MODELS.build(cfg.model.backbone)
    maps = backbone(torch.empty(1, 3, side, side, device='meta'))[-1]
    assert cfg.model.get('positions', 121) == maps.shape[-2:].numel()


# Of sets whose images are taken as they are, the side.
IMAGES = {'data/glyphs_cluttered/': 40}
