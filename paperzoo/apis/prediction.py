"""Images of a user: everything found in them as one file, and drawn over them."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.exported import ExportedModel
from paperzoo.apis.inference import Predictor, reason_of
from paperzoo.apis.progress import track
from paperzoo.evaluation.results import categories
from paperzoo.utils.files import free_path, new_folder, write_json
from paperzoo.utils.run_info import run_info


def predict_files(
    model: Predictor | ExportedModel,
    files: Sequence[Path],
    *,
    out: str | Path = 'predictions',
    overlays: bool = True,
    recorded: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Write what a model finds in images: one JSON file in COCO's layout, and overlays.

    An image that cannot be read, or that pipeline or model cannot take, is left out,
    with a line on stderr and its reason in the file. Ctrl-C ends the work, not what is
    done: it is written, and the interrupt raised again.

    Args:
        model: As `load` gives it.
        files: The images.
        out: A new folder: another one if there is one of this name.
        overlays: Whether to draw what is found, a picture for each image.
        recorded: What else the file says of the run, such as the checkpoint.

    Returns:
        What was written, and the file.

    Raises:
        UserError: If the JSON file or an overlay cannot be written.
        KeyboardInterrupt: If it was interrupted, with what was written.

    Example:
        >>> import paperzoo
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.apis.inference import Predictor
        >>> from paperzoo.apis.prediction import predict_files
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> model = Predictor(paperzoo.build_model(cfg, 'cpu'), cfg, {})
        >>> with TemporaryDirectory() as folder:
        ...     found, file = predict_files(model, [Path('missing.jpg')], out=folder)
        >>> found['failed']
        [{'file_name': 'missing.jpg', 'error': 'there is no such file'}]
    """
    folder = new_folder(Path(out))
    start = time.time()
    found: dict[str, Any] = {
        'images': [],
        'categories': categories(model.classes),
        'annotations': [],
        'failed': [],
    }
    stopped = False
    try:
        for file in track(files, 'images'):
            _predict(model, file, folder if overlays else None, found)
    except KeyboardInterrupt:
        stopped = True
    found['info'] = {
        'score': model.score,
        **(recorded or {}),
        'seconds': round(time.time() - start, 1),
        **run_info(),
    }
    written = write_json(folder / 'predictions.json', found, one_a_line=True)
    if stopped:
        done = len(found['images']) + len(found['failed'])
        raise KeyboardInterrupt(f'{done} of {len(files)} images are in {written}')
    return found, written


def _predict(
    model: Predictor | ExportedModel,
    file: Path,
    folder: Path | None,
    found: dict[str, Any],
) -> None:
    """Add what is found in an image, and draw it if there is a folder."""
    # Whatever is wrong with one image, the others go on.
    try:
        result = model(file)
        records = result.to_coco()
        drawn = result.drawn_bgr() if folder is not None else None
    except Exception as error:
        reason = reason_of(error)
        print(f'paperzoo: {file} is left out: {reason}', file=sys.stderr)
        found['failed'].append({'file_name': str(file), 'error': reason})
        return
    image = {'id': len(found['images']) + 1, 'file_name': str(file)}
    image |= {'width': result.width, 'height': result.height}
    if folder is not None and drawn is not None:
        overlay = _overlay(file, drawn, folder / 'overlays')
        image['overlay'] = overlay.relative_to(folder).as_posix()
    found['images'].append(image)
    for record in records:
        number = len(found['annotations']) + 1
        found['annotations'].append({'id': number, 'image_id': image['id'], **record})


def _overlay(file: Path, drawn: NDArray[np.uint8], folder: Path) -> Path:
    from paperzoo.visualization.overlays import write_picture

    # Images of two folders may have one name.
    return write_picture(free_path(folder / f'{file.stem}.jpg'), drawn)
