"""Makes the projects and their scripts importable, and loads their configs.

They are no part of the package. Their folders come last on the path, so that the tests
are of the installed package where there is one.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from small_models import images, samples, small_model

ROOT = Path(__file__).parents[1]
PROJECTS = ROOT / 'projects'
sys.path += [str(ROOT), str(ROOT / 'benchmarks')]

project_record = import_module('_project_record')
report = import_module('_project_report')
run_projects = import_module('run_projects')


def load(name: str) -> Config:
    (path,) = PROJECTS.rglob(f'{name}.py')
    cfg = Config.fromfile(str(path))
    init_default_scope(cfg.default_scope)
    return cfg


def assert_learns_and_predicts(cfg: Config, *extra: str) -> Any:
    """Loss, gradients of every parameter, a prediction; with and without objects."""
    model = small_model(cfg).train()
    for objects in (4, 0):
        model.zero_grad(set_to_none=True)
        losses = model.loss(images(cfg, 2), samples(cfg, 2, objects))
        assert set(extra) <= set(losses)
        model.parse_losses(losses)[0].backward()
        grads = {name: p.grad for name, p in model.named_parameters()}
        assert [name for name, grad in grads.items() if grad is None] == []
        assert all(torch.isfinite(grad).all() for grad in grads.values())
    with torch.no_grad():
        (found,) = model.eval().predict(images(cfg, 1), samples(cfg, 1, 0))
    assert found.pred_instances.bboxes.shape[1] == 4
    return model
