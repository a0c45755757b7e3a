"""What is put off is not imported, and is the real thing as soon as it is used."""

import json
import sys
import threading
from textwrap import dedent

import numpy as np
import pytest
from own_process import python

SLOW = (
    'matplotlib.pyplot',
    'scipy.optimize',
    'scipy.linalg',
    'scipy.sparse',
    'scipy.stats',
    'sympy',
    'torch.distributed.fsdp',
    'torch.distributed.optim',
)


START = 'import sys, paperzoo, mmdet.models, mmengine.runner, mmengine._strategy\n'


def test_a_detector_needs_nothing_slow() -> None:
    found = python(
        START + 'import json\nfrom paperzoo.registry import MODELS\n'
        "MODELS.get('paperzoo.FCOSHead'); MODELS.get('mmdet.MaskRCNN')\n"
        f'print(json.dumps([name for name in {SLOW} if name in sys.modules]))'
    )
    assert json.loads(found) == []


@pytest.mark.parametrize(
    'code',
    [
        # Each is used as mmengine and mmdet use it.
        """
        from mmengine.registry import OPTIMIZERS
        import mmengine.optim
        late = OPTIMIZERS.get('ZeroRedundancyOptimizer')
        assert late is mmengine.optim.ZeroRedundancyOptimizer
        from torch.optim import SGD
        import torch
        parameter = torch.nn.Parameter(torch.zeros(1))
        assert not isinstance(SGD([parameter], lr=1.0), late)
        assert 'torch.distributed.optim' not in sys.modules
        class Own(late):
            pass
        from torch.distributed.optim import ZeroRedundancyOptimizer as Torchs
        assert issubclass(Own, Torchs) and issubclass(Own, late)
        import torch.distributed as dist
        dist.init_process_group('gloo', init_method='tcp://127.0.0.1:0',
                                rank=0, world_size=1)
        built = late([parameter], optimizer_type='SGD', lr=1.0)
        assert isinstance(built, late) and isinstance(built, Torchs)
        dist.destroy_process_group()
        assert issubclass(OPTIMIZERS.get('ZeroRedundancyOptimizer'), Torchs)
        """,
        """
        from mmengine.model import MMFullyShardedDataParallel, is_model_wrapper
        from mmengine.registry import MODEL_WRAPPERS, STRATEGIES
        import torch
        assert not is_model_wrapper(torch.nn.Linear(1, 1))
        assert 'torch.distributed.fsdp' not in sys.modules
        strategy = STRATEGIES.build(dict(type='FSDPStrategy'))
        from mmengine._strategy import FSDPStrategy
        assert isinstance(strategy, FSDPStrategy)
        assert FSDPStrategy.load_optim_state_dict.__module__ == 'paperzoo.compat.fsdp'
        from torch.distributed.fsdp import FullyShardedDataParallel as Torchs
        assert MMFullyShardedDataParallel.clip_grad_norm_ is Torchs.clip_grad_norm_
        assert issubclass(MODEL_WRAPPERS.get('MMFullyShardedDataParallel'), Torchs)
        import mmengine._strategy.fsdp as module
        assert module.FSDP is Torchs
        """,
        """
        from mmdet.models.task_modules.assigners import hungarian_assigner
        import numpy as np
        rows, columns = hungarian_assigner.linear_sum_assignment(np.array([[2.0, 1.0]]))
        assert (rows.tolist(), columns.tolist()) == ([0], [1])
        assert sys.modules['scipy.optimize'].linear_sum_assignment is not (
            hungarian_assigner.linear_sum_assignment
        )
        """,
        """
        from mmdet.models.task_modules.tracking import KalmanFilter
        import numpy as np
        kalman = KalmanFilter()
        mean, covariance = kalman.initiate(np.array([5.0, 5.0, 1.0, 2.0]))
        mean, _ = kalman.update(mean, covariance, np.array([6.0, 5.0, 1.0, 2.0]))
        assert 5.5 < mean[0] < 6
        """,
        """
        from mmdet.evaluation.metrics import crowdhuman_metric as module
        import numpy as np
        matrix = module.csr_matrix(np.array([[0, 1], [1, 0]]))
        assert module.maximum_bipartite_matching(matrix).tolist() == [1, 0]
        """,
        """
        from mmdet.utils import imshow_mot_errors
        try:
            imshow_mot_errors(backend='none')
        except NotImplementedError:  # mmdet's own: it knows cv2 and plt
            assert sys.modules['mmdet.utils.mot_error_visualize'].plt
        else:
            raise AssertionError
        """,
        """
        from mmseg.datasets.transforms import transforms as module
        assert 'scipy.ndimage' not in sys.modules
        import numpy as np
        spread = module.gaussian_filter(np.eye(3), 1.0)
        assert spread[0, 0] > spread[0, 2] > 0
        """,
        """
        import mmseg.models
        assert not {'scipy.ndimage', 'scipy.interpolate', 'ftfy'} & set(sys.modules)
        from mmseg.models.losses import huasdorff_distance_loss as module
        import numpy as np
        assert module.distance(np.array([0, 1, 1])).tolist() == [0, 1, 2]
        from mmseg.models.backbones import beit
        assert beit.interpolate.interp1d([0, 1], [0, 2])(0.5) == 1
        import scipy.interpolate
        assert scipy.interpolate.__file__
        """,
        """
        from mmseg.utils import tokenizer
        assert 'ftfy' not in sys.modules
        assert tokenizer.tokenize.__name__ == 'tokenize'
        assert tokenizer.HFTokenizer.__module__ == 'mmseg.utils.tokenizer'
        """,
    ],
)
def test_what_is_put_off_is_the_real_thing_when_used(code: str) -> None:
    python(START + dedent(code))


def test_another_thread_gets_the_package_itself() -> None:
    from paperzoo.compat.slow_imports import _put_off

    real = sys.modules.pop('scipy.fft', None)
    found = []

    def other() -> None:
        import scipy.fft

        found.append(scipy.fft.fft(np.ones(2)))
        import importlib

        found.append(importlib.import_module('scipy.fft').ifft(np.ones(2)))

    try:
        with _put_off('scipy.fft', ('fft',)):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        assert [one.tolist() for one in found] == [[2, 0], [1, 0]]
        import scipy.fft

        assert hasattr(scipy.fft, 'rfft')
    finally:
        if real is not None:
            sys.modules['scipy.fft'] = real
