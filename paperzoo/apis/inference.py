"""Models that take images and give results."""

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from paperzoo.apis.build import (
    build_model,
    build_stored_model,
    default_device,
    default_scope,
    family,
    load_weights,
    not_built,
    read_checkpoint,
)
from paperzoo.apis.config import class_names, image_pipeline, load_config
from paperzoo.apis.config_errors import merge
from paperzoo.apis.exported import ExportedModel
from paperzoo.apis.results import Result
from paperzoo.apis.stack import check_stack
from paperzoo.errors import UserError
from paperzoo.preflight.common_values import check_values
from paperzoo.runtime.sessions import is_exported, open_session

if TYPE_CHECKING:
    from mmengine.config import Config
    from torch import nn

ENDINGS = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
Image: TypeAlias = str | Path | NDArray[np.uint8]


class ImageError(UserError):
    """An image that no model can take.

    Args:
        image: Which one.
        reason: What is wrong with it.
    """

    def __init__(self, image: str | Path, reason: str) -> None:
        super().__init__(f"'{image}': {reason}")
        self.reason = reason


def load(
    checkpoint: str | Path,
    config: 'str | Path | Config | None' = None,
    *,
    cfg_options: Mapping[str, Any] | None = None,
    device: str | None = None,
    score: float = 0.3,
) -> 'Predictor | ExportedModel':
    """Return a model with its weights, to be called with images.

    A file of `paperzoo export` (`.onnx`, or `.xml` of OpenVINO) runs without torch and
    mm*, which are not imported.

    The config that the checkpoint holds is read as data and never run (see
    `paperzoo.apis.stored_config`).

    Args:
        checkpoint: File or URL, or an exported file.
        config: A path or a bare name, or what `load_config` gives; by default the
            config that the checkpoint holds.
        cfg_options: Overrides by dotted key, such as `{'model.test_cfg.nms_pre': 100}`.
        device: Where the model runs, such as `'cpu'`; by default the GPU if there is
            one.
        score: Objects that score lower are left out of the results.

    Raises:
        UserError: If the checkpoint cannot be read or belongs to another model, if the
            config is not known or holds more than data, if its model is none for
            detection or segmentation, or if there is no such device.

    Example:
        >>> import paperzoo, tempfile, torch
        >>> cfg = paperzoo.load_config('fcos_tiny_shapes')
        >>> model = paperzoo.build_model(cfg, 'cpu')
        >>> with tempfile.NamedTemporaryFile(suffix='.pth') as file:
        ...     torch.save({'state_dict': model.state_dict()}, file.name)
        ...     paperzoo.load(file.name, cfg, device='cpu')
        Predictor(FCOS, 7 classes, on cpu)
    """
    if is_exported(checkpoint):
        if config is not None or cfg_options:
            raise UserError(
                f"'{checkpoint}' is an exported file: it takes no config and no "
                'overrides, all settings are in it'
            )
        return ExportedModel(open_session(checkpoint), pixels_of, score=score)
    import torch

    check_stack()
    if config is None:
        return _load_alone(checkpoint, cfg_options, device or default_device(), score)
    named = isinstance(config, str | Path)
    cfg: Any = load_config(config, cfg_options) if named else config
    if not named and cfg_options:
        cfg = cfg.copy()
        merge(cfg, cfg_options)
        check_values(cfg)
    check_stack(cfg.get('default_scope'))
    with torch.random.fork_rng(devices=[]):  # random weights, soon replaced
        model = build_model(cfg, device)
    meta = load_weights(model, checkpoint)
    from paperzoo.preflight.build_errors import spelling_explained

    with spelling_explained(cfg):
        return Predictor(model, cfg, meta, score=score)


def _load_alone(
    checkpoint: str | Path,
    cfg_options: Mapping[str, Any] | None,
    device: str,
    score: float,
) -> 'Predictor':
    import torch

    # It brings the remedies, and so torch: not for who only asks for help.
    from paperzoo.apis.stored_config import stored_config

    loaded = read_checkpoint(checkpoint)
    cfg = stored_config(loaded.get('meta') or {}, str(checkpoint))
    if cfg_options:
        merge(cfg, cfg_options)
        check_values(cfg)
    with torch.random.fork_rng(devices=[]):
        model = build_stored_model(cfg, device, str(checkpoint))
    meta = load_weights(model, checkpoint, loaded)
    try:
        return Predictor(model, cfg, meta, score=score)
    except UserError:
        raise
    except Exception as error:  # Anything: it may come from anywhere.
        raise not_built(checkpoint, 'a pipeline', error) from error


class Predictor:
    """A model with the pipeline that its images go through; `load` makes one.

    Several threads may call it at a time. A call changes nothing outside of it.

    Args:
        model: For detection, instance, panoptic or semantic segmentation, in evaluation
            mode, with its weights.
        cfg: Its config.
        meta: Of its checkpoint, for the names of the classes.
        score: Objects that score lower are left out of the results.

    Raises:
        UserError: If the model has another task, or nothing says the class names.
    """

    def __init__(
        self, model: 'nn.Module', cfg: 'Config', meta: dict, *, score: float = 0.3
    ) -> None:
        from mmengine.dataset import Compose

        if family(model) is None:
            raise UserError(
                f'model.type is {type(model).__name__}, no model of mmdet or mmseg: '
                'only these take images here. Models of episodes or sequences: '
                'paperzoo test CONFIG CHECKPOINT'
            )
        self.model: Any = model
        self.cfg = cfg
        self.classes = class_names(cfg, meta)
        self.score = score
        with default_scope(cfg):
            self.pipeline = Compose(image_pipeline(cfg))

    @overload  # A text is a name first, a sequence last.
    def __call__(  # type: ignore[overload-overlap]
        self, image: Image, *, score: float | None = None
    ) -> Result: ...
    @overload
    def __call__(
        self, image: Sequence[Image], *, score: float | None = None
    ) -> list[Result]: ...
    def __call__(
        self, image: Any, *, score: float | None = None
    ) -> Result | list[Result]:
        """Return what the model finds in an image, or in each of a list.

        Args:
            image: A file, or an array (H, W, 3) of uint8 in BGR, as OpenCV reads it; or
                a list of those.
            score: Objects that score lower are left out; by default the model's.

        Raises:
            UserError: If a file is not there or damaged, or an array is not uint8 (H,
                W, 3).
        """
        if isinstance(image, list | tuple):
            return [self(one, score=score) for one in image]
        import torch

        shown, data = self._prepared(image)
        batch = {key: [data[key]] for key in ('inputs', 'data_samples')}
        with torch.no_grad():
            (sample,) = self.model.test_step(batch)
        threshold = self.score if score is None else score
        # Results are kept; the memory of a GPU is small.
        return Result(sample.cpu(), self.classes, shown, threshold)

    def __repr__(self) -> str:
        """Return the model's class, its number of classes and its device."""
        device = next(self.model.parameters()).device
        name = type(self.model).__name__
        return f'Predictor({name}, {len(self.classes)} classes, on {device})'

    def _prepared(self, image: Any) -> tuple[Path | NDArray[np.uint8], dict[str, Any]]:
        """Return the image as results keep it, and what the pipeline makes of it."""
        if isinstance(image, str | Path):
            file = Path(os.path.expanduser(image))
            check_image_file(file)
            return file, self.pipeline({'img_path': str(file), 'img_id': 0})
        check_array(image)
        return image, self._after_reading(image)

    def _after_reading(self, image: NDArray[np.uint8]) -> dict[str, Any]:
        from mmcv.transforms import LoadImageFromFile

        first, *others = self.pipeline.transforms
        if not isinstance(first, LoadImageFromFile):
            raise UserError(
                f'{self.cfg.filename}: the test pipeline begins with '
                f'{type(first).__name__}: only files go through it, no arrays'
            )
        pixels = np.ascontiguousarray(image)
        data: Any = {
            'img': pixels.astype(np.float32) if first.to_float32 else pixels,
            'img_path': None,
            'img_id': 0,
            'img_shape': image.shape[:2],
            'ori_shape': image.shape[:2],
        }
        for transform in others:
            data = transform(data)
        return data


def check_image_file(file: Path) -> None:
    """Refuse a file that is not there or no whole image.

    Args:
        file: The file.

    Raises:
        ImageError: If the file is not there, is empty or cut off, or is no image.

    Example:
        >>> from pathlib import Path
        >>> from paperzoo.apis.inference import check_image_file
        >>> check_image_file(Path('no_such.jpg'))
        Traceback (most recent call last):
        paperzoo.apis.inference.ImageError: 'no_such.jpg': there is no such file
    """
    from paperzoo.preflight.image_files import is_broken, too_large

    if not os.path.lexists(file):
        raise ImageError(file, 'there is no such file')
    # A pipe would be waited for, for ever.
    if not file.is_file():
        raise ImageError(file, 'it is no regular file')
    # OpenCV would draw the missing part grey.
    if is_broken(file):
        raise ImageError(file, too_large(file) or 'empty, cut off or no image')


def reason_of(error: Exception) -> str:
    """Return in one line why an image gave no result.

    Args:
        error: What reading it, its pipeline or the model has raised.

    Example:
        >>> from paperzoo.apis.inference import reason_of
        >>> reason_of(ValueError('height is 0'))
        'ValueError: height is 0'
    """
    if isinstance(error, ImageError):
        return error.reason
    text = ' '.join(str(error).split())[:300]
    if isinstance(error, UserError):
        return text
    return f'{type(error).__name__}: {text}'.removesuffix(': ')


def check_array(image: Any) -> None:
    """Refuse what is no array (H, W, 3) of uint8.

    Args:
        image: What was given as an image.

    Raises:
        ImageError: If the array has another shape or type; the message says how to make
            a fitting one of it.

    Example:
        >>> import numpy as np
        >>> from paperzoo.apis.inference import check_array
        >>> check_array(np.zeros((4, 4), np.uint8))
        Traceback (most recent call last):
        paperzoo.apis.inference.ImageError: 'array': it is (4, 4), not (H, W, 3). ...
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            type(image).__name__,
            'give a file, an array (H, W, 3) of uint8 in BGR, or a list of those',
        )
    shape, wanted = image.shape, '(H, W, 3)'
    if len(shape) != 3 or shape[2] != 3 or 0 in shape:
        remedy = ''
        if len(shape) == 2:
            remedy = '. A grey one: cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)'
        elif len(shape) == 3 and shape[2] == 4:
            remedy = '. Without its alpha: image[..., :3]'
        elif len(shape) == 3 and shape[0] == 3:
            remedy = '. Channels last: image.transpose(1, 2, 0)'
        raise ImageError('array', f'it is {shape}, not {wanted}{remedy}')
    if image.dtype != np.uint8:
        raise ImageError(
            'array',
            f'it is of {image.dtype}, not uint8. From 0 to 1: '
            '(255 * image).round().astype(numpy.uint8)',
        )


def pixels_of(image: Any) -> NDArray[np.uint8]:
    """Return the pixels (H, W, 3) of an image, in BGR.

    Args:
        image: A file, or an array, which is returned as it is.

    Raises:
        ImageError: If the file is not there or damaged, or the array has another shape
            or type.

    Example:
        >>> import numpy as np
        >>> from paperzoo.apis.inference import pixels_of
        >>> pixels_of(np.zeros((4, 6, 3), np.uint8)).shape
        (4, 6, 3)
    """
    if not isinstance(image, str | Path):
        check_array(image)
        return image
    import cv2

    file = Path(os.path.expanduser(image))
    check_image_file(file)
    pixels = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ImageError(file, 'empty, cut off or no image')
    return np.asarray(pixels, np.uint8)


def find_images(given: Sequence[str]) -> list[Path]:
    """Return the image files that files, folders and globs name, each once.

    Args:
        given: Files, folders (searched to the bottom) and globs.

    Raises:
        UserError: If one of the files, folders and globs names no image.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from paperzoo.apis.inference import find_images
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, 'a.png').touch()
        ...     [file.name for file in find_images([folder, f'{folder}/*.png'])]
        ['a.png']
    """
    found: dict[Path, None] = {}
    for name in given:
        path = Path(os.path.expanduser(name))
        # What is there, but no image, is told with the results, not before.
        if path.is_dir():
            files = sorted(p for p in path.rglob('*') if p.suffix.lower() in ENDINGS)
        elif os.path.lexists(path):
            files = [path]
        else:
            files = [Path(p) for p in sorted(glob.glob(str(path), recursive=True))]
        files = [file for file in files if not file.is_dir()]
        if not files:
            raise UserError(
                f"'{name}' is no image, no folder with images ({', '.join(ENDINGS)}) "
                'and no glob that matches one'
            )
        found.update(dict.fromkeys(files))
    return list(found)
