"""Images of a user: everything found in them as one file, and drawn over them."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.images import reason_of
from paperzoo.apis.inference import Predictor
from paperzoo.apis.progress import track
from paperzoo.evaluation.results import categories
from paperzoo.utils.files import free_path, new_folder, write_json
from paperzoo.utils.run_info import run_info


def predict_files(
    model: Predictor,
    files: Sequence[Path],
    *,
    out: str | Path = 'predictions',
    overlays: bool = True,
    recorded: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], Path]:
    """Write what a model finds in images: one JSON file in COCO's layout, and overlays.

    An image that cannot be read, or that pipeline or model cannot take, is left out,
    with a line on stderr and its reason in the file.

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
    for file in track(files, 'images'):
        # Whatever is wrong with one image, the others go on.
        try:
            result = model(file)
            records = result.to_coco()
            drawn = result.drawn_bgr() if overlays else None
        except Exception as error:
            reason = reason_of(error)
            print(f'paperzoo: {file} is left out: {reason}', file=sys.stderr)
            found['failed'].append({'file_name': str(file), 'error': reason})
            continue
        image = {'id': len(found['images']) + 1, 'file_name': str(file)}
        image |= {'width': result.width, 'height': result.height}
        if drawn is not None:
            overlay = _overlay(file, drawn, folder / 'overlays')
            image['overlay'] = overlay.relative_to(folder).as_posix()
        found['images'].append(image)
        for record in records:
            number = len(found['annotations']) + 1
            found['annotations'].append(
                {'id': number, 'image_id': image['id'], **record}
            )
    found['info'] = {
        'score': model.score,
        **(recorded or {}),
        'seconds': round(time.time() - start, 1),
        **run_info(),
    }
    return found, write_json(folder / 'predictions.json', found, one_a_line=True)


def _overlay(file: Path, drawn: NDArray[np.uint8], folder: Path) -> Path:
    from paperzoo.visualization.overlays import write_picture

    # Images of two folders may have one name.
    return write_picture(free_path(folder / f'{file.stem}.jpg'), drawn)
