"""Makes Shapes, a synthetic set for detection and segmentation in COCO's layout.

Below its root:

- `train/000001.jpg`, ... and `val/...`: the images;
- `annotations/instances_{train,val}.json`: boxes and masks of what is visible; the
  extra key `occluded` is the hidden share of an object;
- `annotations/panoptic_{train,val}.json`, `annotations/panoptic_{train,val}/*.png`;
- `semantic/{train,val}/*.png`: 0 to 6 the things, 7 to 9 the stuff;
- `spec.json`: what it was made from.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from pycocotools import mask as coco_mask

from paperzoo.data.generated import ensure_set
from paperzoo.data.shapes_draw import STUFF_CLASSES, THING_CLASSES, Scene, draw_scene
from paperzoo.errors import UserError
from paperzoo.utils.masks import Record, encode
from paperzoo.utils.progress import track

__all__ = ['STUFF_CLASSES', 'THING_CLASSES', 'ShapesSpec', 'generate_shapes']

# Raise it whenever the same spec would give other files.
GENERATOR_VERSION = 2
MIN_POLYGON_IOU = 0.9
SPLITS = ('train', 'val')


@dataclass(frozen=True)
class ShapesSpec:
    """What a Shapes set is made from.

    Image i of a split depends on the seed, the split, i and the image size only: a
    smaller set is the beginning of a larger one.

    Example:
        >>> ShapesSpec(num_train=8, num_val=2).width
        320
    """

    num_train: int = 400
    num_val: int = 100
    width: int = 320
    height: int = 240
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.width, self.height) < 240:
            raise UserError(
                f'ShapesSpec(width={self.width}, height={self.height}): the largest '
                'objects need images of at least 240 x 240 pixels; raise the lower one'
            )
        if min(self.num_train, self.num_val) < 1 or self.seed < 0:
            raise UserError(
                f'ShapesSpec(num_train={self.num_train}, num_val={self.num_val}, '
                f'seed={self.seed}): a split needs at least one image, a seed is not '
                'negative; change what is out of range'
            )


def generate_shapes(root: Path, spec: ShapesSpec = ShapesSpec()) -> Path:
    """Return `root` with the Shapes set in it, making the set if it is not there yet.

    Any number of processes may call this at once: one makes the set, the others wait
    for it. The set appears in one piece when it is complete.

    Raises:
        UserError: If `root` holds something else or a set made from another spec, or
            cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = Path(folder, 'mine.txt').write_text('not a set')
        ...     try:
        ...         generate_shapes(Path(folder))
        ...     except UserError as error:
        ...         print('is in the way of the Shapes set' in str(error))
        True
    """
    identity = {'generator_version': GENERATOR_VERSION, **asdict(spec)}
    return ensure_set(
        Path(root), 'Shapes', identity, lambda folder: _write_set(folder, spec)
    )


def _write_set(folder: Path, spec: ShapesSpec) -> None:
    counts = {'train': spec.num_train, 'val': spec.num_val}
    for split in SPLITS:
        for name in (split, f'semantic/{split}', f'annotations/panoptic_{split}'):
            (folder / name).mkdir(parents=True)
    files = {split: _empty_files() for split in SPLITS}
    jobs = [(split, index) for split in SPLITS for index in range(counts[split])]
    for split, index in track(jobs, 'images of Shapes'):
        rng = np.random.default_rng([spec.seed, SPLITS.index(split), index])
        scene = draw_scene(rng, spec.width, spec.height)
        _add_image(folder, split, index + 1, scene, *files[split])
    for split, (instances, panoptic) in files.items():
        annotations = folder / 'annotations'
        (annotations / f'instances_{split}.json').write_text(json.dumps(instances))
        (annotations / f'panoptic_{split}.json').write_text(json.dumps(panoptic))


def _empty_files() -> tuple[Record, Record]:
    """Return the instances and the panoptic file of a split without images."""
    names = THING_CLASSES + STUFF_CLASSES
    categories = [
        {'id': index + 1, 'name': name, 'supercategory': 'shape'}
        for index, name in enumerate(THING_CLASSES)
    ]
    panoptic_categories = [
        {'id': index + 1, 'name': name, 'isthing': int(name in THING_CLASSES)}
        for index, name in enumerate(names)
    ]
    info = {'description': 'paperzoo Shapes', 'version': str(GENERATOR_VERSION)}
    return (
        {'info': info, 'images': [], 'annotations': [], 'categories': categories},
        {
            'info': info,
            'images': [],
            'annotations': [],
            'categories': panoptic_categories,
        },
    )


def _add_image(
    folder: Path,
    split: str,
    image_id: int,
    scene: Scene,
    instances: Record,
    panoptic: Record,
) -> None:
    """Write the files of one image and add it to the JSON of its split."""
    height, width = scene.objects.shape
    stem = f'{image_id:06d}'
    image = {'id': image_id, 'file_name': f'{stem}.jpg'}
    image |= {'width': width, 'height': height}
    num_objects = len(scene.kinds)
    # Segments count from 1, objects first: 0 is "unlabelled" in COCO's panoptic format.
    ground = num_objects + 1 + scene.stuff
    segments = np.where(scene.objects >= 0, scene.objects + 1, ground)
    categories = [*scene.kinds, *range(len(THING_CLASSES), 10)]
    annotations = [_instance(scene, index) for index in range(num_objects)]
    for annotation in annotations:
        annotation['id'] = len(instances['annotations']) + 1
        annotation['image_id'] = image_id
        instances['annotations'].append(annotation)
    infos = [
        {'id': segment, 'category_id': categories[segment - 1] + 1, 'iscrowd': 0}
        | _extent(segments == segment)
        for segment in np.flatnonzero(np.bincount(segments.ravel())).tolist()
    ]
    panoptic['annotations'].append(
        {'image_id': image_id, 'file_name': f'{stem}.png', 'segments_info': infos}
    )
    instances['images'].append(image)
    panoptic['images'].append(image)

    _write_image(folder / split / f'{stem}.jpg', scene.image)
    semantic = np.array([0, *categories], np.uint8)[segments]
    _write_image(folder / 'semantic' / split / f'{stem}.png', semantic)
    red = segments.astype(np.uint8)  # a scene has fewer than 256 segments
    rgb = np.stack([red, np.zeros_like(red), np.zeros_like(red)], axis=-1)
    _write_image(folder / 'annotations' / f'panoptic_{split}' / f'{stem}.png', rgb)


def _write_image(path: Path, pixels: UInt8[np.ndarray, '*pixels']) -> None:
    bgr = pixels[..., ::-1] if pixels.ndim == 3 else pixels
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95] if path.suffix == '.jpg' else []
    _, data = cv2.imencode(path.suffix, bgr, quality)
    # Unlike cv2.imwrite, this does not pass over a full disk in silence.
    path.write_bytes(data.tobytes())


def _extent(mask: Bool[np.ndarray, 'height width']) -> Record:
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return {'area': int(np.count_nonzero(mask)), 'bbox': [x, y, width, height]}


def _instance(scene: Scene, index: int) -> Record:
    """Return the COCO annotation of what is visible of an object."""
    mask = scene.objects == index
    extent = _extent(mask)
    return {
        'category_id': scene.kinds[index] + 1,
        **extent,
        'iscrowd': 0,
        'segmentation': _segmentation(mask, extent['bbox']),
        'occluded': round(1 - extent['area'] / scene.full_areas[index], 6),
    }


def _segmentation(
    mask: Bool[np.ndarray, 'height width'], box: list[int]
) -> list[list[float]] | Record:
    """Return a polygon where one describes the mask well, else its run lengths."""
    rle = encode(mask)
    polygon = _polygon(mask, box)
    if polygon is not None:
        drawn = coco_mask.frPyObjects([polygon], *mask.shape)
        if coco_mask.iou(drawn, [rle], [0])[0, 0] >= MIN_POLYGON_IOU:
            return [polygon]
    return rle


def _polygon(
    mask: Bool[np.ndarray, 'height width'], box: list[int]
) -> list[float] | None:
    """Return the outline of a mask as [x0, y0, x1, y1, ...], None if it is not one."""
    x, y, width, height = box
    crop = mask[y : y + height, x : x + width].astype(np.uint8)
    # OpenCV's contours run through the centres of the border's pixels. In a picture
    # enlarged four times these lie close to the border itself.
    large = cv2.resize(crop, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST)
    contours, _ = cv2.findContours(large, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(contours) != 1:
        return None
    points = cv2.approxPolyDP(contours[0], epsilon=3, closed=True)[:, 0]
    corners = (points + 0.5) / 4 + [x, y]
    return np.round(corners, 2).ravel().tolist() if len(points) >= 3 else None
