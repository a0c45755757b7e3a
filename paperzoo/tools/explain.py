"""Show on your images what a model does, as one HTML page: targets, scores, losses."""

import argparse
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.build import build_model, default_device, load_weights
from paperzoo.apis.config import class_names
from paperzoo.apis.inference import find_images
from paperzoo.tools._shared import add_config_arguments, config_of, one_message, track
from paperzoo.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

    from paperzoo.explain.html.report import Section


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_config_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument(
        'images',
        nargs='*',
        help='files, folders or globs; those of the config come with their annotations',
    )
    parser.add_argument(
        '--item',
        type=int,
        nargs='+',
        metavar='N',
        help='models of episodes or sequences: which of the test set, not images',
    )
    parser.add_argument('--out', default='report.html', metavar='FILE.html')
    parser.add_argument(
        '--score-thr', type=float, default=0.3, help='leave out what scores lower'
    )
    parser.add_argument('--device', help="'cpu', 'cuda'; the GPU if there is one")
    return parser.parse_args()


def explain_all(
    cfg: 'Config', model: 'nn.Module', meta: dict, args: argparse.Namespace
) -> tuple[list[str], list['Section']]:
    """Return the names of the samples, and the sections of all of them.

    Args:
        cfg: The config.
        model: Its model, with its weights.
        meta: Of the checkpoint.
        args: The command line.

    Raises:
        UserError: If the model has no page, or needs samples of another kind.
    """
    from paperzoo.explain import ITEM_PAGES, page_of, sections

    given: list[Any]
    load: Any
    if (page := page_of(model)) in ITEM_PAGES:
        if args.images:
            raise UserError(
                f"'{args.images[0]}': a {type(model).__name__} is explained on items "
                "of the config's test set, not on images; give --item 0"
            )
        given, kind = args.item or [0], 'items'
        load = partial(import_module(page).item, cfg)
    else:
        from paperzoo.data.paths import ensure_generated
        from paperzoo.explain.sample import SampleLoader

        if args.item or not args.images:
            raise UserError(
                f'{args.config}: its model is explained on images; give one or more '
                'files (--item is for models of episodes or sequences)'
            )
        # A set that paperzoo makes is named as in a config: data/shapes/val.
        files = [
            one if Path(one).exists() else ensure_generated(one) for one in args.images
        ]
        given, kind = find_images(files), 'images'
        load = SampleLoader(cfg, model, class_names(cfg, meta), args.score_thr)
    names, all_sections = [], []
    for one in track(given, kind):
        sample = load(one)
        found = sections(model, sample)
        if len(given) > 1:
            found = [
                replace(part, title=f'{sample.name}: {part.title}') for part in found
            ]
        names.append(sample.name)
        all_sections += found
    return names, all_sections


def main() -> None:
    """Explain."""
    args = parse_args()
    if Path(args.out).suffix not in ('.html', '.htm'):
        raise UserError(f"--out '{args.out}' must end in .html")
    cfg = config_of(args)
    model = build_model(cfg, args.device or default_device())
    meta = load_weights(model, args.checkpoint)
    names, sections = explain_all(cfg, model, meta, args)

    from paperzoo.explain.html.render import write_report
    from paperzoo.utils.files import free_path

    listed = ', '.join(names[:3]) + (f' and {len(names) - 3} more' * (len(names) > 3))
    title = f'{Path(args.config).stem} on {listed}'
    file = write_report(title, sections, free_path(Path(args.out)))
    print(f'Open in a browser: {file.absolute()}')


if __name__ == '__main__':
    one_message(main)
