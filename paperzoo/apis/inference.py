"""Models that take images and give results."""

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.build import build_model, load_weights
from paperzoo.apis.config import class_names, image_pipeline
from paperzoo.utils.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def find_images(given: list[str]) -> list[Path]:
    """Return the image files that files, folders and globs name, each once.

    Raises:
        UserError: If one of them names no image.
    """
    found: dict[Path, None] = {}
    for name in given:
        path = Path(name).expanduser()
        if path.is_dir():
            files = sorted(p for p in path.rglob('*') if p.suffix.lower() in ENDINGS)
        elif path.is_file():
            files = [path]
        else:
            files = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
            files = [p for p in files if p.is_file()]
        if not files:
            raise UserError(
                f"'{name}' is no image, no folder with images ({', '.join(ENDINGS)}) "
                'and no glob that matches one'
            )
        found.update(dict.fromkeys(files))
    return list(found)


class Predictor:
    """A model with the pipeline that its images go through.

    Args:
        cfg: The config.
        checkpoint: File or URL.
        device: Where the model runs.
        score: Records below it are left out.
    """

    def __init__(
        self, cfg: 'Config', checkpoint: str, *, device: str, score: float
    ) -> None:
        from mmengine.dataset import Compose

        self.model: Any = build_model(cfg, device)
        meta = load_weights(self.model, checkpoint)
        self.classes = class_names(cfg, meta)
        self.score = score
        self.pipeline = Compose(image_pipeline(cfg))

    def __call__(self, file: Path) -> tuple[tuple[int, int], list[dict[str, Any]]]:
        """Return the height and width of an image, and what is found in it.

        Raises:
            OSError: If the file is damaged.
        """
        import torch

        from paperzoo.evaluation.results import found_records
        from paperzoo.preflight.image_files import is_broken

        # OpenCV would draw the missing part grey.
        if is_broken(file):
            raise OSError('empty, cut off or no image')
        data = self.pipeline({'img_path': str(file), 'img_id': 0})
        batch = {key: [data[key]] for key in ('inputs', 'data_samples')}
        with torch.inference_mode():
            (sample,) = self.model.test_step(batch)
        records = found_records(sample.to_dict(), self.classes)
        kept = [one for one in records if one.get('score', 1.0) >= self.score]
        height, width = sample.ori_shape[:2]
        return (height, width), kept
