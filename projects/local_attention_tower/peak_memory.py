"""How much memory a training needs."""

import json
from pathlib import Path

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from paperzoo.utils.run_info import peak_mib


@HOOKS.register_module()
class PeakMemoryHook(Hook):
    """Write `peak_memory.json` into the work dir when a training ends.

    On a GPU it is what torch had at most, on a CPU what the whole process had.
    """

    def after_train(self, runner: Runner) -> None:
        """Write the file."""
        (peak,) = peak_mib(get_device()).values()
        record = {'train_peak_mib': peak}
        Path(runner.work_dir, 'peak_memory.json').write_text(json.dumps(record))
