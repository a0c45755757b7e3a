"""Refuses a training that would end at once and look as if it had worked."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from paperzoo.errors import UserError


class WorkLeftHook(Hook):
    """Stop before a training without batches.

    `paperzoo train` adds it. A checkpoint from behind the end of the training is
    refused where it is resumed (`resume.py`).
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Look at the loader.

        Raises:
            UserError: If it gives no batch.
        """
        loader = runner.train_loop.dataloader
        if hasattr(loader, '__len__') and not len(loader):
            count = len(getattr(loader, 'dataset', ()))
            raise UserError(
                f'train_dataloader gives no batch: its data set has {count} items, '
                f'batch_size={getattr(loader, "batch_size", None)}, '
                f'drop_last={getattr(loader, "drop_last", None)}. Give more images or '
                'a smaller batch'
            )
