"""Try a model in the browser: a local page for images of yours, nothing leaves it."""

import argparse
from pathlib import Path
from typing import Any

from paperzoo.errors import UserError
from paperzoo.tools._shared import (
    Overrides,
    add_support,
    bounded,
    fit,
    one_message,
    parse,
)


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'config',
        help='config file or the bare name of one; or, alone, a checkpoint, a work '
        'dir or a file of paperzoo export',
    )
    parser.add_argument(
        'checkpoint', nargs='?', help='checkpoint file, work dir or URL'
    )
    add_support(parser)
    parser.add_argument(
        '--score',
        type=bounded(float, 0),
        default=0.3,
        help='threshold that the page begins with',
    )
    parser.add_argument('--device', help="'cpu', 'cuda'; the GPU if there is one")
    parser.add_argument(
        '--cfg-options', nargs='+', action=Overrides, metavar='KEY=VALUE'
    )
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='where the page is; 0.0.0.0 lets other machines see it',
    )
    parser.add_argument(
        '--port',
        type=bounded(int, 0, 2**16 - 1),
        default=7860,
        help='0 for any free one',
    )
    parser.add_argument(
        '--max-upload-mb', type=_size, default=20.0, metavar='MB', help='of an image'
    )
    return parse(parser)


def _size(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size <= 1024:
        said = f"'{text}': a number of megabytes, more than 0 and up to 1024"
        raise argparse.ArgumentTypeError(said)
    return size


def main() -> None:
    """Serve."""
    args = parse_args()
    config, checkpoint = args.config, args.checkpoint
    if checkpoint is None:
        config, checkpoint = None, _alone(args.config)
    from paperzoo.serve.server import check_gradio, listen, serve

    # What takes a moment comes before what takes many.
    check_gradio()
    with listen(args.host, args.port) as listening:
        from paperzoo.apis.inference import load

        model = load(
            checkpoint,
            config,
            cfg_options=args.cfg_options,
            device=args.device,
            score=args.score,
        )
        fit(model, args.support)
        serve(
            model,
            listening,
            title=_title(args.config),
            most_mb=args.max_upload_mb,
            info=_info(args.config, checkpoint),
            support=args.support,
        )
        print('\nThe page is closed, what was uploaded is deleted.')


def _alone(given: str) -> str:
    """Return what stands for config and checkpoint."""
    from paperzoo.apis.images import is_url

    if not is_url(given) and (not Path(given).exists() or given.endswith('.py')):
        raise UserError(
            f"'{given}' alone is no checkpoint, work dir or exported file that is "
            f'there; behind a config comes one: paperzoo serve {given} CHECKPOINT'
        )
    return given


def _title(given: str) -> str:
    path = Path(given)
    return f'{path.name if path.is_dir() else path.stem} · paperzoo'


def _info(config: str, checkpoint: str) -> dict[str, Any]:
    """Return what records say of their model, without places of this machine."""
    from paperzoo.utils.run_info import checkpoint_info, run_info

    run = run_info()
    known = checkpoint_info(checkpoint)
    known['checkpoint'] = Path(known['checkpoint']).name
    return {'config': Path(config).name, **known, 'versions': run['versions']}


if __name__ == '__main__':
    one_message(main)
