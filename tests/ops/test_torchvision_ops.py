"""On a GPU torchvision's compiled operators do the work; here both are pretended."""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
import torch
from references.mmcv_ops import greedy_nms
from torch import Tensor
from torch.overrides import TorchFunctionMode

from paperzoo.compat import mmcv_ext
from paperzoo.errors import UserError
from paperzoo.ops import torchvision_ops
from paperzoo.ops.nms import nms
from paperzoo.ops.roi_align import roi_align, roi_align_backward

mmcv_ext.apply()
mmcv_ops = import_module('mmcv.ops')

SAMPLING = pytest.mark.parametrize('sampling', [0, 2])
DTYPES = pytest.mark.parametrize(
    'dtype', [torch.half, torch.bfloat16, torch.float32, torch.double]
)


class EveryTensorOnAGPU(TorchFunctionMode):
    """Tensors say that they are on a GPU; what is made on one is made on the CPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        asked = getattr(getattr(func, '__self__', None), '__name__', '')
        if func.__name__ == '__get__' and asked == 'is_cuda':
            return True
        if func.__name__ == '__get__' and asked == 'device':
            return torch.device('cuda', 0)
        if 'device' in kwargs:
            kwargs['device'] = 'cpu'
        no_device = tuple(
            torch.device('cpu') if isinstance(x, torch.device) else x for x in args
        )
        return func(*no_device, **kwargs)


class Recorder(ModuleType):
    """`torchvision.ops` by our own operators on the CPU; it notes the calls."""

    def __init__(self) -> None:
        super().__init__('torchvision.ops')
        self.calls: list[tuple[str, tuple]] = []

    def nms(self, boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
        self.calls.append(('nms', (boxes, scores, iou_threshold)))
        assert boxes.dtype == scores.dtype  # the compiled one refuses others
        return greedy_nms(boxes, scores, iou_threshold, 0)

    def roi_align(
        self,
        input: Tensor,  # noqa: A002  (torchvision's name)
        boxes: Tensor,
        output_size: tuple[int, int],
        spatial_scale: float = 1.0,
        sampling_ratio: int = -1,
        aligned: bool = False,
    ) -> Tensor:
        options = output_size, spatial_scale, sampling_ratio, aligned
        self.calls.append(('roi_align', (input, boxes, *options)))
        assert input.dtype == boxes.dtype  # the compiled one refuses others
        with torch._C.DisableTorchFunction():
            assert not input.is_cuda
            return roi_align(input, boxes, *options[:3], aligned=aligned)


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    torchvision_ops._operator.cache_clear()
    yield
    torchvision_ops._operator.cache_clear()


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, 'torchvision', ModuleType('torchvision'))
    monkeypatch.setitem(sys.modules, 'torchvision.ops', recorder)
    return recorder


def boxes_and_scores(number: int = 60) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    low = torch.rand(number, 2, generator=generator) * 40
    size = torch.rand(number, 2, generator=generator) * 20 + 10
    # Eight different scores: many are equal.
    scores = torch.randint(8, (number,), generator=generator) / 8
    return torch.cat((low, low + size), dim=1), scores


def image_and_rois(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 3, 7, 9, generator=generator, dtype=torch.double)
    rois = torch.rand(5, 5, generator=generator) * 5
    rois[:, 0] = torch.arange(5) % 2
    rois[:, 3:] += rois[:, 1:3]
    return image.to(dtype), rois


def test_on_a_cpu_it_is_not_asked(torchvision):
    boxes, scores = boxes_and_scores()
    nms(boxes, scores, 0.5)
    mmcv_ops.nms(boxes, scores, 0.5)
    image, rois = image_and_rois()
    roi_align(image, rois, 2)
    mmcv_ops.roi_align(image, rois, 2)
    assert torchvision.calls == []


@DTYPES
@pytest.mark.parametrize('scores_dtype', [torch.half, torch.float32, torch.double])
def test_nms_of_a_gpu(torchvision, dtype, scores_dtype):
    boxes, scores = boxes_and_scores()
    boxes, scores = boxes.to(dtype), scores.to(scores_dtype)
    wanted = nms(boxes, scores, 0.4)
    with EveryTensorOnAGPU():
        kept = nms(boxes, scores, 0.4)
    torch.testing.assert_close(kept, wanted, rtol=0, atol=0)
    ((name, (given, _, threshold)),) = torchvision.calls
    assert (name, threshold) == ('nms', 0.4)
    # Half precision would change decisions.
    assert given.dtype == torch.promote_types(dtype, torch.float32)


def test_nms_with_an_offset_is_ours(torchvision):
    boxes, scores = boxes_and_scores()
    with EveryTensorOnAGPU():
        kept = nms(boxes, scores, 0.4, offset=1)
    torch.testing.assert_close(kept, greedy_nms(boxes, scores, 0.4, 1))
    assert torchvision.calls == []


def test_nms_of_no_box_and_of_whole_numbers(torchvision):
    boxes, scores = boxes_and_scores()
    with EveryTensorOnAGPU():
        assert nms(boxes[:0], scores[:0], 0.4).shape == (0,)
        kept = nms(boxes.long(), scores, 0.4)
    torch.testing.assert_close(kept, nms(boxes.long(), scores, 0.4))


def test_mmcvs_nms_of_a_gpu(torchvision):
    boxes, scores = boxes_and_scores()
    wanted = mmcv_ops.nms(boxes, scores, 0.4, score_threshold=0.2, max_num=9)
    with EveryTensorOnAGPU():
        found = mmcv_ops.nms(boxes, scores, 0.4, score_threshold=0.2, max_num=9)
    torch.testing.assert_close(found, wanted)
    assert [name for name, _ in torchvision.calls] == ['nms']


@pytest.mark.parametrize('aligned', [True, False])
@SAMPLING
@DTYPES
@pytest.mark.parametrize('op', [roi_align, mmcv_ops.roi_align])
def test_the_mean_of_roi_align_of_a_gpu_with_its_gradient(
    torchvision, op, dtype, sampling, aligned
):
    image, rois = image_and_rois(dtype)
    options = (2, 3), 0.7, sampling, 'avg', aligned
    results = []
    for place in (nullcontext(), EveryTensorOnAGPU()):
        leaf = image.clone().requires_grad_()
        with place:
            pooled = op(leaf, rois, *options)
            (gradient,) = torch.autograd.grad(pooled, leaf, pooled.detach() + 1)
        assert pooled.dtype == gradient.dtype == dtype
        results.append((pooled.detach(), gradient))
    torch.testing.assert_close(*results)
    assert [name for name, _ in torchvision.calls] == ['roi_align']
    given, _, *arguments = torchvision.calls[0][1]
    assert given.dtype == torch.promote_types(dtype, torch.float32)
    assert arguments == [(2, 3), 0.7, sampling, aligned]


@SAMPLING
@DTYPES
def test_the_backward_of_mmcvs_op_asks_once_more(torchvision, dtype, sampling):
    # Called as mmcv does: within autograd the pretended GPU would not be seen.
    image, rois = image_and_rois(dtype)
    grad = torch.rand(5, 3, 2, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    none, options = torch.empty(0, dtype=dtype), (2, 3, 0.7, sampling, 1, True)
    wanted, found = torch.zeros_like(image), torch.zeros_like(image)
    roi_align_backward(grad, rois, none, none, wanted, *options)
    with torch.no_grad(), EveryTensorOnAGPU():
        roi_align_backward(grad, rois, none, none, found, *options)
    torch.testing.assert_close(found, wanted)
    assert [name for name, _ in torchvision.calls] == ['roi_align']


@SAMPLING
@pytest.mark.parametrize('op', [roi_align, mmcv_ops.roi_align])
def test_the_maximum_is_ours(torchvision, op, sampling):
    image, rois = image_and_rois()
    wanted = op(image, rois, 2, 1.0, sampling, 'max', True)
    with EveryTensorOnAGPU():
        found = op(image, rois, 2, 1.0, sampling, 'max', True)
    torch.testing.assert_close(found, wanted)
    assert torchvision.calls == []


@pytest.mark.parametrize('edge', [float('nan'), float('inf'), -float('inf')])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('column', [0, 2])
@SAMPLING
def test_a_roi_that_is_not_finite_is_zero(torchvision, edge, aligned, column, sampling):
    # The compiled operator would take samples without end.
    image, rois = torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 3, 3]] * 2)
    rois[1, column] = edge
    with EveryTensorOnAGPU():
        pooled = roi_align(image, rois, 2, 1 / 32, sampling, 'avg', aligned)
    assert torchvision.calls[0][1][1].isfinite().all()
    assert pooled.flatten().tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_no_roi_and_images_without_pixels(torchvision):
    image, rois = image_and_rois()
    with EveryTensorOnAGPU():
        assert roi_align(image, rois[:0], 2).shape == (0, 3, 2, 2)
        with pytest.raises(UserError, match='0 x 9 pixels'):
            roi_align(image[:, :, :0], rois, 2)


def ours_on_a_gpu() -> None:
    boxes, scores = boxes_and_scores()
    image, rois = image_and_rois(torch.double)
    leaf = image.requires_grad_()
    pooled = {s: roi_align(image, rois, 2, 1.0, s) for s in (0, 2)}
    gradients = [torch.autograd.grad(x.sum(), leaf)[0] for x in pooled.values()]
    kept = nms(boxes, scores, 0.4)
    with EveryTensorOnAGPU():
        torch.testing.assert_close(nms(boxes, scores, 0.4), kept)
        for (s, wanted), gradient in zip(pooled.items(), gradients, strict=True):
            found = mmcv_ops.roi_align(image, rois, 2, 1.0, s)
            torch.testing.assert_close(found, wanted)
            (actual,) = torch.autograd.grad(found.sum(), leaf)
            torch.testing.assert_close(actual, gradient)


@pytest.mark.parametrize(
    'error', [ImportError, RuntimeError, AttributeError, OSError, ValueError]
)
def test_whatever_goes_wrong_at_import_ours_is_used(tmp_path, monkeypatch, error):
    # PyTorch's wheel beside another torch: 'operator torchvision::nms does not exist'.
    package = tmp_path / 'torchvision'
    package.mkdir()
    (package / '__init__.py').write_text(f'raise {error.__name__}("no torchvision")')
    monkeypatch.delitem(sys.modules, 'torchvision', raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(error, match='no torchvision'):
        import_module('torchvision')
    ours_on_a_gpu()


def test_an_operator_that_was_not_built_for_gpus_is_not_used(torchvision):
    def not_built(*arguments: Any) -> Tensor:
        torchvision.calls.append(('refused', arguments))
        raise NotImplementedError("Could not run it from the 'CUDA' backend")

    torchvision.nms = torchvision.roi_align = not_built
    ours_on_a_gpu()
    assert torchvision.calls
    assert {name for name, _ in torchvision.calls} == {'refused'}


def test_without_torchvision_ours_is_used(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torchvision', None)
    monkeypatch.setitem(sys.modules, 'torchvision.ops', None)
    ours_on_a_gpu()
