"""Refuses a training that would end at once and look as if it had worked."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from paperzoo.errors import UserError


class WorkLeftHook(Hook):
    """Stop before a training without batches, or that begins behind its own end.

    `paperzoo train` adds it. A training that is resumed at its end has been done and
    ends as it should.
    """

    priority = 'VERY_HIGH'

    def before_train(self, runner: Runner) -> None:
        """Look at the loader and at where the training begins.

        Raises:
            UserError: If there is nothing to do.
        """
        loop = runner.train_loop
        loader = loop.dataloader
        if hasattr(loader, '__len__') and not len(loader):
            count = len(getattr(loader, 'dataset', ()))
            raise UserError(
                f'train_dataloader gives no batch: its data set has {count} items, '
                f'batch_size={getattr(loader, "batch_size", None)}, '
                f'drop_last={getattr(loader, "drop_last", None)}. Give more images or '
                'a smaller batch'
            )
        for unit, done, key in (
            ('epoch', runner.epoch, 'max_epochs'),
            ('iteration', runner.iter, 'max_iters'),
        ):
            # Only one of the two is set by the config; the other one follows.
            end = (runner.cfg.get('train_cfg') or {}).get(key)
            if end is not None and done > end:
                raise UserError(
                    f"'{runner._load_from or 'the checkpoint'}' is of {unit} {done}, "
                    f'but train_cfg.{key} = {end}: nothing would be trained. To go on '
                    f'from it: --cfg-options train_cfg.{key}={done + 1} or more'
                )
