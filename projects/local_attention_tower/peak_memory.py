"""How much memory a training needs."""

import json
import resource
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class PeakMemoryHook(Hook):
    """Write `peak_memory.json` into the work dir when a training ends.

    On a GPU it is what torch had at most, on a CPU what the whole process had.
    """

    def after_train(self, runner: Runner) -> None:
        """Write the file."""
        if torch.cuda.is_available():
            peak = torch.cuda.max_memory_allocated()
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        record = {'train_peak_mib': round(peak / 2**20)}
        Path(runner.work_dir, 'peak_memory.json').write_text(json.dumps(record))
