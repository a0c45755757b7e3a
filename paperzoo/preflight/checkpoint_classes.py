"""Are the classes of a checkpoint those of the data, in the same order?"""

from collections.abc import Mapping, Sequence

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from paperzoo.errors import UserError
from paperzoo.preflight.num_classes import head_counts
from paperzoo.utils.run_info import trained_classes
from paperzoo.utils.wording import some


class SameClassesHook(Hook):
    """Stop a test whose labels mean other classes than the checkpoint's.

    `paperzoo test` adds it.
    """

    priority = 'VERY_HIGH'  # after it was seen that there are weights at all

    def after_load_checkpoint(self, runner: Runner, checkpoint: Mapping) -> None:
        """Compare the names.

        Raises:
            UserError: If their number or their order differs.
        """
        data = getattr(runner.test_loop.dataloader.dataset, 'metainfo', {})
        names = trained_classes(checkpoint.get('meta') or {})
        warning = compare_classes(names, list(data.get('classes') or ()))
        if warning:
            print_log(f'warning: {warning}', 'current')


def compare_classes(trained: Sequence[str], data: Sequence[str]) -> str | None:
    """Return a warning if classes have other names; None if all is well.

    Args:
        trained: The checkpoint's; nothing is said without them.
        data: The data set's.

    Raises:
        UserError: If there are more or fewer, or the same ones in another order: every
            label would mean another class.

    Example:
        >>> compare_classes(['cat', 'dog'], ['cat', 'hound'])
        "label 1 is 'dog' in the checkpoint, but 'hound' in the data"
        >>> compare_classes(['cat', 'dog'], ['dog', 'cat'])
        Traceback (most recent call last):
        paperzoo.errors.UserError: the checkpoint's classes are those of the data in ...
    """
    if not trained or not data or list(trained) == list(data):
        return None
    if len(trained) != len(data):
        raise UserError(
            f'the checkpoint was trained on {len(trained)} classes ({some(trained)}), '
            f'the data has {len(data)} ({some(data)}): give the config that it was '
            'trained with, or set metainfo.classes of the data set'
        )
    label = next(k for k, name in enumerate(trained) if name != data[k])
    text = f'label {label} is {trained[label]!r} in the checkpoint, but {data[label]!r}'
    if sorted(trained) == sorted(data):
        raise UserError(
            f"the checkpoint's classes are those of the data in another order: {text} "
            'in the data. Set metainfo.classes of the data set in the order of the '
            f'checkpoint: {tuple(trained)}'
        )
    return f'{text} in the data'


def check_names(cfg: Config, names: Sequence[str]) -> None:
    """Refuse class names of which no head has as many.

    Args:
        cfg: The config of the model.
        names: Of the classes, of the checkpoint or of the data set.

    Raises:
        UserError: If the heads of the model count another number of classes.

    Example:
        >>> from mmengine.config import Config
        >>> cfg = Config(dict(model=dict(bbox_head=dict(num_classes=80))))
        >>> check_names(cfg, ['cat', 'dog'])
        Traceback (most recent call last):
        paperzoo.errors.UserError: model.bbox_head.num_classes = 80, but there are ...
    """
    if 'panoptic_fusion_head' in (cfg.get('model') or {}):
        return  # its heads count things, and no head all classes
    counts = head_counts(cfg)
    if counts and len(names) not in counts.values():
        key, count = next(iter(counts.items()))
        raise UserError(
            f'{key} = {count}, but there are {len(names)} class names '
            f'({some(names)}): results would get wrong names. They are those of '
            'the checkpoint, else of test_dataloader.dataset.metainfo.classes: give '
            'the config that the checkpoint was trained with, or correct these'
        )
