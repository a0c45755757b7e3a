"""Two processes have the class loss of one that sees the images of both."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.testing import assert_close
from two_processes import two_processes

from paperzoo.common import DiceLoss, FocalLoss
from paperzoo.knet import MaskBCELoss
from paperzoo.knet.losses import kernel_losses
from paperzoo.knet.targets import KernelTargets

# The first process has one object, the second one three.
LABELS = torch.tensor([[4, 2, 4, 4], [0, 1, 4, 2]])
PROGRAM = """
from pathlib import Path

import torch
from mmengine.dist import all_reduce, get_rank, init_dist

from test_two_processes import losses_of

init_dist('pytorch', backend='gloo')
found = losses_of(slice(get_rank(), get_rank() + 1))
loss, accuracy = found['loss_cls'].clone(), found['pos_acc']
torch.save(accuracy, f'accuracy{get_rank()}.pt')
# As DistributedDataParallel averages gradients.
all_reduce(loss, 'mean')
if get_rank() == 0:
    torch.save(loss, 'loss.pt')
torch.distributed.destroy_process_group()
"""


def losses_of(images: slice) -> dict[str, Tensor]:
    torch.manual_seed(0)
    scores, masks = torch.randn(2, 4, 4)[images], torch.randn(2, 4, 6, 6)[images]
    labels = LABELS[images]
    losses = nn.ModuleDict({'loss_cls': FocalLoss(), 'loss_mask': MaskBCELoss()})
    losses['loss_dice'] = DiceLoss()
    weights, aim = torch.ones(*labels.shape, 4), (masks > 0).float()
    targets = KernelTargets(labels, weights, aim, labels < 4)
    return kernel_losses(losses, masks, targets, scores)


def test_objects_count_alike_on_all_processes(tmp_path: Path) -> None:
    here = Path(__file__).parent
    path = f'import sys\nsys.path[:0] = {[str(here), str(here.parent)]}\n'
    (tmp_path / 'program.py').write_text(path + PROGRAM)
    two_processes('program.py', cwd=tmp_path)
    found = torch.load(tmp_path / 'loss.pt', weights_only=True)
    assert_close(found, losses_of(slice(None))['loss_cls'])
    # The mean of two means would be another number.
    alone = [losses_of(slice(rank, rank + 1)) for rank in range(2)]
    assert abs(sum(each['loss_cls'] for each in alone) / 2 - found) > 0.01
    for rank, each in enumerate(alone):
        own = torch.load(tmp_path / f'accuracy{rank}.pt', weights_only=True)
        assert_close(own, each['pos_acc'])
