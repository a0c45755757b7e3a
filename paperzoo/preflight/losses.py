"""Can a loss teach anything? A softmax over one channel is 1, whatever is put in."""

from typing import Any

from mmengine.config import Config

from paperzoo.preflight.config_lines import place_of
from paperzoo.preflight.issues import Issue


def check_losses(cfg: Config) -> list[Issue]:
    """Return an issue for each head of one output channel with a softmax.

    Args:
        cfg: The config.

    Example:
        >>> loss = dict(type='CrossEntropyLoss')
        >>> head = dict(num_classes=2, out_channels=1, loss_decode=loss)
        >>> check_losses(Config(dict(model=dict(decode_head=head))))[0].text[:36]
        'model.decode_head has one output cha'
    """
    return list(_look(cfg, cfg.get('model') or {}, 'model'))


def _look(cfg: Config, node: Any, key: str) -> list[Issue]:
    if isinstance(node, list | tuple):
        parts = [(str(index), inner) for index, inner in enumerate(node)]
    elif isinstance(node, dict):
        parts = list(node.items())
    else:
        return []
    found = []
    if isinstance(node, dict) and 'num_classes' in node and _has_softmax(node):
        channels = node.get('out_channels') or node['num_classes']
        if channels == 1:
            name = 'out_channels' if node.get('out_channels') else 'num_classes'
            found.append(
                Issue(
                    f'{key} has one output channel ({name} = 1) and a softmax, which '
                    'is 1 for every pixel: the loss is 0 and nothing is learned\n'
                    f'  in {place_of(cfg, name)}\n'
                    f'  Set {key}.loss_decode.use_sigmoid=True, or two output channels.'
                )
            )
    for name, inner in parts:
        found += _look(cfg, inner, f'{key}.{name}')
    return found


def _has_softmax(head: dict) -> bool:
    """Return whether one of the losses of a head of label maps is a softmax."""
    losses = head.get('loss_decode')
    if losses is None:  # mmseg's own, where it is a head of mmseg's
        return 'out_channels' in head
    losses = losses if isinstance(losses, list | tuple) else [losses]
    return any(
        str(getattr(one.get('type'), '__name__', one.get('type'))).endswith(
            'CrossEntropyLoss'
        )
        and not one.get('use_sigmoid')
        for one in losses
    )
