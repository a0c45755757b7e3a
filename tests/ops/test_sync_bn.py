"""Synchronised batch normalisation, alone and in two processes."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import distributed as dist
from torch import nn
from two_processes import two_processes

from paperzoo.ops.sync_bn import synced_batch_norm

# How many images each process has.
slow = pytest.mark.slow
SPLITS = [(2, 1), pytest.param((1, 2), marks=slow), pytest.param((3, 0), marks=slow)]


def layers(channels: int) -> dict[str, nn.Module]:
    from mmcv.ops import SyncBatchNorm

    import paperzoo.compat  # noqa: F401

    torch.manual_seed(1)
    made = {'torch': nn.SyncBatchNorm(channels), 'mmcv': SyncBatchNorm(channels)}
    made['mmcv, by images'] = SyncBatchNorm(channels, stats_mode='N')
    plain = nn.BatchNorm2d(channels)
    nn.init.uniform_(plain.weight)
    for layer in made.values():
        layer.load_state_dict(plain.state_dict())
    made['plain'] = plain
    return made


def images(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images, and what their gradients are multiplied by."""
    generator = torch.Generator().manual_seed(2)
    image = torch.randn(number, 4, 5, 6, generator=generator) * 3 + 1
    return image, torch.randn(number, 4, 5, 6, generator=generator)


def run(layer: nn.Module, image: torch.Tensor, grad: torch.Tensor) -> dict:
    image = image.clone().requires_grad_()
    out = layer(image)
    (out * grad).sum().backward()
    return {
        'out': out.detach(),
        'grad': image.grad,
        'weight': layer.weight.grad,
        'bias': layer.bias.grad,
        'mean': layer.running_mean.clone(),
        'var': layer.running_var.clone(),
    }


PROGRAM = """
import os, sys
sys.path.insert(0, {tests!r})
import torch
from torch import distributed as dist
from ops import test_sync_bn as module
dist.init_process_group('gloo')
rank = dist.get_rank()
image, grad = (one.split({split})[rank] for one in module.images({copies}))
made = module.layers(4)
found = {{name: module.run(made[name], image, grad) for name in {names}}}
torch.save(found, f'{{rank}}.pt')
dist.barrier()
os._exit(0)  # gloo's threads sometimes abort an orderly end
"""


def in_two_processes(folder: Path, split: tuple[int, int], *names: str) -> list[dict]:
    """Return what layers give in each of two processes, with parts of the images."""
    tests = str(Path(__file__).parents[1])
    code = PROGRAM.format(tests=tests, split=split, names=names, copies=sum(split))
    (folder / 'program.py').write_text(code)
    two_processes('program.py', cwd=folder)
    return [torch.load(folder / f'{rank}.pt') for rank in range(2)]


@pytest.mark.parametrize('split', SPLITS)
def test_two_processes_find_what_one_does(split, tmp_path):
    parts = [one['torch'] for one in in_two_processes(tmp_path, split, 'torch')]
    wanted = run(layers(4)['plain'], *images(sum(split)))
    for key in ('out', 'grad'):
        torch.testing.assert_close(torch.cat([one[key] for one in parts]), wanted[key])
    for key in ('weight', 'bias'):
        total = sum(one[key] for one in parts)
        torch.testing.assert_close(total, wanted[key], rtol=1e-4, atol=1e-5)
    for key, one in ((key, one) for key in ('mean', 'var') for one in parts):
        torch.testing.assert_close(one[key], wanted[key])


def test_mmcvs_layer_in_two_processes_with_equal_parts(tmp_path):
    parts = in_two_processes(tmp_path, (2, 2), 'mmcv', 'mmcv, by images')
    wanted = run(layers(4)['plain'], *images(4))
    for name in ('mmcv', 'mmcv, by images'):
        both = [part[name] for part in parts]
        for key in ('out', 'grad'):
            torch.testing.assert_close(
                torch.cat([one[key] for one in both]), wanted[key]
            )
        for key, one in ((key, one) for key in ('mean', 'var') for one in both):
            torch.testing.assert_close(one[key], wanted[key])
        # mmcv gives each process the mean over the processes.
        torch.testing.assert_close(2 * both[0]['weight'], wanted['weight'])


def test_mmcvs_layer_is_built_and_trained_in_one_process():
    assert not dist.is_initialized()
    made = layers(4)
    image, grad = images(3)
    wanted = run(made['plain'], image, grad)
    found = run(made['mmcv'], image, grad)
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
    half = made['mmcv'](image.half())
    torch.testing.assert_close(
        half.float(), made['mmcv'](image.half().float()), rtol=0, atol=0.01
    )


@pytest.fixture
def alone():
    dist.init_process_group('gloo', store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_gradient(alone):
    image = torch.randn(2, 3, 2, 2).double().requires_grad_()
    weight, bias = (torch.randn(3).double().requires_grad_() for _ in range(2))

    def norm(image, weight, bias):
        return synced_batch_norm(image, (None, None), (weight, bias), 0.1, 1e-5)

    assert torch.autograd.gradcheck(norm, (image, weight, bias))


@pytest.mark.parametrize('dtype', [torch.half, torch.bfloat16])
def test_half_precision_is_computed_in_float32(alone, dtype):
    image = torch.randn(2, 3, 4, 4).to(dtype)
    found = synced_batch_norm(image, (None, None), (None, None), 0.1, 1e-5)
    wanted = F.batch_norm(image.float(), None, None, training=True)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), wanted, rtol=0.01, atol=0.01)


def test_no_image_anywhere_leaves_the_running_statistics(alone):
    running = torch.ones(3), torch.full((3,), 2.0)
    image = torch.zeros(0, 3, 4, 4)
    found = synced_batch_norm(image, running, (None, None), 0.1, 1e-5)
    assert found.shape == image.shape
    assert running[0].tolist() == [1, 1, 1]
    assert running[1].tolist() == [2, 2, 2]
