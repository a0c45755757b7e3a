"""Graphs for export give what the models' own predict gives, before any file."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models import DetDataPreprocessor
from mmdet.structures import DetDataSample
from torch import nn
from torch.testing import assert_close

import paperzoo
from paperzoo.apis.export_check import compare
from paperzoo.apis.exported import ExportedModel
from paperzoo.apis.inference import Predictor
from paperzoo.deploy.episodes import episode_graphs
from paperzoo.deploy.inputs import MeanPool, Normalize, with_mean_pools
from paperzoo.deploy.knet import merge_segments
from paperzoo.deploy.networks import image_graph
from paperzoo.errors import UserError
from paperzoo.knet import panoptic
from paperzoo.runtime.sessions import Session


def in_torch(graph: Any, card: Any) -> ExportedModel:
    """Return a graph as a file would run it."""

    def run(inputs: Any) -> dict[str, Any]:
        with torch.no_grad():
            found = graph.module(*map(torch.from_numpy, inputs.values()))
        return {name: value.numpy() for name, value in found.items()}

    return ExportedModel(Session('graph', card, (), (), run), score=0.0)


@pytest.mark.parametrize(
    'name',
    [
        'fcos_tiny_shapes',
        'knet_tiny_shapes_instance',
        'knet_tiny_shapes_panoptic',
        'knet_tiny_shapes_semantic',
    ],
)
def test_graphs_are_their_models(name: str) -> None:
    from paperzoo.apis.export import image_card

    cfg = paperzoo.load_config(name)
    torch.manual_seed(0)
    model = paperzoo.build_model(cfg, 'cpu')
    predictor = Predictor(model, cfg, {}, score=0.0)
    random = np.random.default_rng(1)
    # Another size than the network's, and one that needs padding.
    images = [
        random.integers(0, 256, (*size, 3), np.uint8) for size in ((96, 128), (75, 110))
    ]
    wanted = [predictor(image) for image in images]
    card = image_card(predictor, None, dynamic=True)
    graph = image_graph(model, (96, 64), card.divisor, dynamic=True)
    ready = replace(card, task=graph.task, settings=graph.module.settings)
    answers = iter(wanted)
    found = compare(lambda _: next(answers), in_torch(graph, ready), images)
    found.check(name)
    assert found.objects + found.pixels > 0


@pytest.mark.parametrize('paper', ['dmf', 'protonet', 'can', 'feat'])
def test_episodes_are_their_models(paper: str) -> None:
    torch.manual_seed(0)
    model = paperzoo.build_model(paperzoo.load_config(f'{paper}_tiny_glyphs'), 'cpu')
    images, label = torch.rand(1, 6, 3, 28, 28), torch.tensor([[0, 1, 2]])
    support, query = images[:, :3], images[:, 3:]
    graphs = episode_graphs(model, images[0], ways=3, dynamic=False)
    with torch.no_grad():
        given = {'support': support, 'support_label': label, 'query': query}
        wanted = model(**model.data_preprocessor(given), mode='tensor')[0]
        maps = [graphs['embedding'].module(one[0])['maps'] for one in (support, query)]
        found = graphs['episode'].module(maps[0], label[0], maps[1], torch.arange(3))
        found = found['scores']
    assert_close(found, wanted)


@pytest.mark.parametrize('channels', [True, False])
def test_normalize_is_the_preprocessor_and_its_padding(channels: bool) -> None:
    pre = DetDataPreprocessor(
        mean=[10.0, 20.0, 30.0],
        std=[2.0, 3.0, 4.0],
        bgr_to_rgb=channels,
        pad_size_divisor=32,
        pad_value=5,
    )
    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    sample = DetDataSample(metainfo={'img_shape': (40, 50)})
    wanted = pre({'inputs': [image], 'data_samples': [sample]})['inputs']
    padded = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    padded[0, :, :40, :50] = image
    assert_close(Normalize(pre)(padded, torch.tensor([40, 50])), wanted)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 6), st.integers(1, 6))
def test_mean_pools_are_adaptive_pools(
    height: int, width: int, rows: int, columns: int
) -> None:
    maps = torch.rand(2, 3, height, width, dtype=torch.float64)
    wanted = nn.AdaptiveAvgPool2d((rows, columns))(maps)
    assert_close(MeanPool((rows, columns))(maps), wanted)


def test_pools_that_keep_a_side_stay() -> None:
    kept = nn.AdaptiveAvgPool2d((None, 3))
    assert with_mean_pools(nn.Sequential(kept))[0] is kept


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_segments_are_merged_as_one_by_one(seed: int, first: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.rand(2, 6, generator=generator)
    scores[:, 3] = scores[:, 2]  # of equal ones the first
    labels = torch.tensor([0, 1, 1, 0, 2, 3]).expand(2, -1)
    masks = torch.rand(2, 6, 4, 5, generator=generator)
    options = dict(instance_score_thr=0.3, overlap_thr=0.4, filter_first=first)
    found = merge_segments(scores, labels, masks, 2, 4, **options)
    for image in range(2):
        blocks = [(0, masks[image])]
        one = panoptic.merge_panoptic(
            scores[image], labels[image], blocks, 2, 4, **options
        )
        assert_close(found[image], one.ids)


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        ({'model.test_cfg.nms.type': 'soft_nms'}, 'only dict'),
        (
            {'model.test_cfg.nms': {'type': 'nms', 'iou_threshold': 0.5, 'offset': 1}},
            'offset',
        ),
    ],
)
def test_what_cannot_be_written_is_refused(options: dict, said: str) -> None:
    model = paperzoo.build_model(paperzoo.load_config('fcos_tiny_shapes', options))
    with pytest.raises(UserError, match=said):
        image_graph(model, (96, 64), 32, dynamic=False)


def test_other_models_are_refused() -> None:
    with pytest.raises(UserError, match=r'model.type is Linear: what can be exported'):
        image_graph(nn.Linear(1, 1), (96, 64), 32, dynamic=False)
