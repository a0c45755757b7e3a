"""Rename the weights of the authors' FCOS or of AdelaiDet, for FCOSHead."""

import argparse
from pathlib import Path

from paperzoo import __version__
from paperzoo.errors import UserError
from paperzoo.tools._shared import one_message, parse
from paperzoo.utils.files import refuse_unwritable, write_safely

HOW_TO_BUILD = """The model that these weights fit:
  bbox_head: conv_bias=True{dcn}
  backbone of R50 and R101: style='caffe', and the images as BGR:
    data_preprocessor=dict(mean=[102.9801, 115.9465, 122.7717], std=[1.0, 1.0, 1.0],
    bgr_to_rgb=False)
  AdelaiDet and the authors' "imprv" models: norm_on_bbox=True,
    centerness_on_reg=True, center_sampling=True
  their scores: test_cfg=dict(score_mode='sqrt', rank_by='product')"""


def parse_args() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='checkpoint (.pth) file or URL')
    parser.add_argument('target', help='file to write; it must not exist yet')
    return parse(parser)


def convert(source: str, target: Path) -> list[str]:
    """Write the weights of `source` under mmdet's names.

    Args:
        source: A checkpoint; it is read without running any code in it.
        target: The file to write, whole or not at all.

    Returns:
        The names that are no weights and were left out.

    Raises:
        UserError: If `target` exists or cannot be written, or `source` cannot be read
            or understood.
    """
    if target.exists():
        raise UserError(f"'{target}' exists already: name another file, or remove it")
    refuse_unwritable(target)
    if source.endswith(('.pkl', '.pickle')):
        raise UserError(
            f"'{source}' is a plain pickle, which runs code when it is read. If you "
            'trust its author, make a file of its weights where that does no harm:\n'
            '  import pickle, torch\n'
            f"  weights = pickle.load(open('{source}', 'rb'), encoding='latin1')\n"
            "  torch.save({k: torch.as_tensor(v) for k, v in weights['model'].items()},"
            " 'weights.pth')\nand convert that"
        )
    import torch
    from mmengine.runner import CheckpointLoader

    from paperzoo.fcos.checkpoints import convert_state_dict, find_weights, left_out

    checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu')
    try:
        weights = find_weights(checkpoint)
        converted = convert_state_dict(weights)
    except UserError as error:
        raise UserError(f"'{source}': {error}") from error
    skipped = left_out(weights)
    content = {'state_dict': converted, 'meta': _origin(source, skipped)}
    write_safely(target, lambda file: torch.save(content, file))
    print(f'Written: {target} ({len(converted)} weights)')
    deformable = any('.conv.conv_offset.' in name for name in converted)
    print(HOW_TO_BUILD.format(dcn=', dcn_on_last_conv=True' if deformable else ''))
    return skipped


def _origin(source: str, skipped: list[str]) -> dict:
    """Return what the file says about where it comes from."""
    from paperzoo.utils.run_info import checkpoint_info, run_info

    info = checkpoint_info(source)
    return {
        'converted_from': info.pop('checkpoint'),
        'converted_from_sha256': info.get('checkpoint_sha256', 'not a local file'),
        'converted_by': f'paperzoo {__version__}, fcos_convert',
        'left_out': skipped,
        'time': run_info()['date'],
    }


def main() -> None:
    """Convert."""
    args = parse_args()
    skipped = convert(args.source, Path(args.target))
    if skipped:
        print(f'No weights, left out: {", ".join(skipped)}')


if __name__ == '__main__':
    one_message(main)
