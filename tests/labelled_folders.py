"""One small truth, written in every format that paperzoo reads."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

import cv2
import numpy as np
from PIL import Image

CLASSES = ('红细胞', 'white cell', 'tag & <co>')


@dataclass
class Thing:
    """A labelled object: a polygon (x, y, x, y, ...) and the box around it."""

    name: str
    polygon: list[float]

    @property
    def box(self) -> tuple[float, float, float, float]:
        xs, ys = self.polygon[0::2], self.polygon[1::2]
        return min(xs), min(ys), max(xs), max(ys)


@dataclass
class Scene:
    """An image with its objects."""

    name: str
    pixels: np.ndarray
    things: list[Thing] = field(default_factory=list)
    split: str = 'train'

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]


def scenes(count: int = 6, seed: int = 0, splits: Sequence[str] = ('train',)) -> list:
    """Return random images with one to four convex objects, drawn into them."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        width, height = int(rng.integers(90, 160)), int(rng.integers(80, 140))
        pixels = rng.integers(0, 80, (height, width, 3), np.uint8)
        things = []
        for _ in range(int(rng.integers(1, 5))):
            left = float(rng.integers(0, width - 45))
            top = float(rng.integers(0, height - 45))
            w, h = (float(side) for side in rng.integers(16, 40, 2))
            label = int(rng.integers(len(CLASSES)))
            polygon = [left, top, left + w, top + h / 4, left + w / 2, top + h]
            corners = np.array(polygon).reshape(-1, 2).round().astype(np.int32)
            colour = [0, 0, 0]
            colour[label] = 255
            cv2.fillPoly(pixels, [corners], colour)
            things.append(Thing(CLASSES[label], polygon))
        split = splits[number % len(splits)]
        made.append(Scene(f'scene {number}.jpg', pixels, things, split))
    # Every class is there, wherever the numbers above fall.
    for label, name in enumerate(CLASSES):
        made[0].things[label % len(made[0].things)].name = name
    return made


def save(scene: Scene, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.pixels).save(path, quality=95)


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')


def coco_content(some: list, *, masks: bool, root: bool = False) -> dict:
    """Return COCO's content; `root` adds an empty category above all, as Roboflow."""
    above = 'cells' if root else ''
    categories = [{'id': 0, 'name': 'cells', 'supercategory': 'none'}] if root else []
    categories += [
        {'id': number, 'name': name, 'supercategory': above}
        for number, name in enumerate(CLASSES, 1)
    ]
    images: list[dict] = []
    annotations: list[dict] = []
    for number, scene in enumerate(some, 1):
        width, height = scene.size
        images.append(
            {'id': number, 'file_name': scene.name, 'width': width, 'height': height}
        )
        for thing in scene.things:
            left, top, right, bottom = thing.box
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': number,
                    'category_id': CLASSES.index(thing.name) + 1,
                    'bbox': [left, top, right - left, bottom - top],
                    'area': (right - left) * (bottom - top),
                    'iscrowd': 0,
                    'segmentation': [thing.polygon] if masks else [],
                }
            )
    return {'images': images, 'annotations': annotations, 'categories': categories}


def by_split(some: list) -> dict[str, list]:
    return {
        split: [one for one in some if one.split == split]
        for split in dict.fromkeys(one.split for one in some)
    }


def write_coco(root: Path, some: list, *, masks: bool = False) -> None:
    for split, part in by_split(some).items():
        for one in part:
            save(one, root / split / one.name)
        content = coco_content(part, masks=masks)
        write_json(root / 'annotations' / f'instances_{split}.json', content)


def write_coco_cvat(root: Path, some: list, *, masks: bool = False) -> None:
    for one in some:
        save(one, root / 'images' / one.name)
    content = coco_content(some, masks=masks)
    write_json(root / 'annotations/instances_default.json', content)


def write_coco_roboflow(root: Path, some: list, *, masks: bool = False) -> None:
    for split, part in by_split(some).items():
        folder = root / {'val': 'valid'}.get(split, split)
        for one in part:
            save(one, folder / one.name)
        content = coco_content(part, masks=masks, root=True)
        write_json(folder / '_annotations.coco.json', content)


def yolo_lines(scene: Scene, *, masks: bool) -> str:
    width, height = scene.size
    rows = []
    for thing in scene.things:
        left, top, right, bottom = thing.box
        numbers = [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
        if masks:
            numbers = thing.polygon
        fractions = [
            one / (height if i % 2 else width) for i, one in enumerate(numbers)
        ]
        words = ' '.join(f'{one:.10f}' for one in fractions)
        rows.append(f'{CLASSES.index(thing.name)} {words}\n')
    return ''.join(rows)


def write_labels(scene: Scene, path: Path, *, masks: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix('.txt').write_text(yolo_lines(scene, masks=masks))


def data_yaml(places: dict[str, str]) -> str:
    names = json.dumps(list(CLASSES), ensure_ascii=False)
    rows = [f'{key}: {value}' for key, value in places.items()]
    return '\n'.join([*rows, f'nc: {len(CLASSES)}', f'names: {names}']) + '\n'


def write_yolo(root: Path, some: list, *, masks: bool = False) -> None:
    for one in some:
        save(one, root / 'images' / one.split / one.name)
        write_labels(one, root / 'labels' / one.split / one.name, masks=masks)
    places = {split: f'images/{split}' for split in by_split(some)}
    text = data_yaml({'path': '/somewhere/else', **places})
    (root / 'data.yaml').write_text(text, encoding='utf-8')


def write_yolo_roboflow(root: Path, some: list, *, masks: bool = False) -> None:
    folders = {split: {'val': 'valid'}.get(split, split) for split in by_split(some)}
    for one in some:
        folder = root / folders[one.split]
        save(one, folder / 'images' / one.name)
        write_labels(one, folder / 'labels' / one.name, masks=masks)
    places = {split: f'../{folder}/images' for split, folder in folders.items()}
    (root / 'data.yaml').write_text(data_yaml(places), encoding='utf-8')


def write_yolo_darknet(root: Path, some: list, *, masks: bool = False) -> None:
    for one in some:
        save(one, root / 'obj_train_data' / one.name)
        write_labels(one, root / 'obj_train_data' / one.name, masks=masks)
    (root / 'obj.names').write_text('\n'.join(CLASSES) + '\n', encoding='utf-8')
    (root / 'obj.data').write_text('classes = 3\ntrain = data/train.txt\n')
    names = [f'data/obj_train_data/{one.name}' for one in some]
    (root / 'train.txt').write_text('\n'.join(names) + '\n')


def write_yolo_labelimg(root: Path, some: list, *, masks: bool = False) -> None:
    for one in some:
        save(one, root / 'images' / one.name)
        write_labels(one, root / 'labels' / one.name, masks=masks)
    # With a byte order mark, as some editors write it.
    (root / 'classes.txt').write_text('\n'.join(CLASSES), encoding='utf-8-sig')


def voc_xml(scene: Scene, database: str = '') -> str:
    width, height = scene.size
    first = 1 if database else 0
    objects = [
        f'<object><name>{escape(one.name)}</name><difficult>0</difficult><bndbox>'
        f'<xmin>{one.box[0] + first}</xmin><ymin>{one.box[1] + first}</ymin>'
        f'<xmax>{one.box[2]}</xmax><ymax>{one.box[3]}</ymax></bndbox></object>'
        for one in scene.things
    ]
    return (
        f'<annotation><filename>{escape(scene.name)}</filename>'
        f'<source><database>{database}</database></source>'
        f'<size><width>{width}</width><height>{height}</height><depth>3</depth></size>'
        f'{"".join(objects)}</annotation>'
    )


def write_voc(root: Path, some: list) -> None:
    for one in some:
        save(one, root / 'JPEGImages' / one.name)
        path = root / 'Annotations' / one.name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = voc_xml(one, database='The VOC2007 Database')
        path.with_suffix('.xml').write_text(text, encoding='utf-8')
    for split, part in by_split(some).items():
        path = root / 'ImageSets/Main' / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(Path(one.name).stem for one in part))


def write_voc_roboflow(root: Path, some: list) -> None:
    for one in some:
        folder = root / {'val': 'valid'}.get(one.split, one.split)
        save(one, folder / one.name)
        path = (folder / one.name).with_suffix('.xml')
        path.write_text(voc_xml(one), encoding='utf-8')


def labelme_content(scene: Scene, *, masks: bool) -> dict:
    width, height = scene.size
    shapes: list[dict] = []
    for thing in scene.things:
        points = np.array(thing.polygon).reshape(-1, 2).tolist()
        left, top, right, bottom = thing.box
        # From the lower right corner to the upper left one: any order is allowed.
        corners = [[right, bottom], [left, top]]
        shapes.append(
            {
                'label': thing.name,
                'points': points if masks else corners,
                'group_id': None,
                'shape_type': 'polygon' if masks else 'rectangle',
                'flags': {},
            }
        )
    return {
        'version': '5.2.1',
        'shapes': shapes,
        'imagePath': scene.name,
        'imageData': None,
        'imageHeight': height,
        'imageWidth': width,
    }


def write_labelme(root: Path, some: list, *, masks: bool = False) -> None:
    for one in some:
        folder = root / one.split if len(by_split(some)) > 1 else root
        save(one, folder / one.name)
        content = labelme_content(one, masks=masks)
        write_json((folder / one.name).with_suffix('.json'), content)


def cvat_xml(some: list, *, masks: bool) -> str:
    labels = ''.join(
        f'<label><name>{escape(one)}</name><color>#{number:02x}10ff</color></label>'
        for number, one in enumerate(CLASSES)
    )
    images = []
    for number, one in enumerate(some):
        width, height = one.size
        shapes = []
        for thing in one.things:
            label = quoteattr(thing.name)
            left, top, right, bottom = thing.box
            box = f'xtl="{left}" ytl="{top}" xbr="{right}" ybr="{bottom}"'
            points = ';'.join(
                f'{x},{y}' for x, y in np.array(thing.polygon).reshape(-1, 2)
            )
            kind = f'polygon label={label} points="{points}"'
            shapes.append(f'<{kind if masks else f"box label={label} {box}"}/>')
        subset = f' subset="{one.split.title()}"' if one.split else ''
        images.append(
            f'<image id="{number}" name={quoteattr(one.name)}{subset} '
            f'width="{width}" height="{height}">{"".join(shapes)}</image>'
        )
    return (
        f'<annotations><version>1.1</version><meta><task><labels>{labels}</labels>'
        f'</task></meta>{"".join(images)}</annotations>'
    )


def write_cvat(root: Path, some: list, *, masks: bool = False) -> None:
    for one in some:
        save(one, root / 'images' / one.name)
    text = cvat_xml(some, masks=masks)
    (root / 'annotations.xml').write_text(text, encoding='utf-8')


Writer = Callable[..., None]
# Those that have a split, and can hold masks.
BOXES: dict[str, Writer] = {
    'coco': write_coco,
    'coco-cvat': write_coco_cvat,
    'coco-roboflow': write_coco_roboflow,
    'yolo': write_yolo,
    'yolo-roboflow': write_yolo_roboflow,
    'yolo-darknet': write_yolo_darknet,
    'yolo-labelimg': write_yolo_labelimg,
    'voc': write_voc,
    'voc-roboflow': write_voc_roboflow,
    'labelme': write_labelme,
    'cvat': write_cvat,
}
MASKS = {name: write for name, write in BOXES.items() if 'voc' not in name}
UNSPLIT = ('coco-cvat', 'yolo-labelimg')
COLOURS = ((0, 0, 0), (200, 30, 30), (30, 200, 30), (30, 30, 200))


def label_map(scene: Scene) -> np.ndarray:
    """Return 0 for the background and 1, 2, ... for the classes."""
    width, height = scene.size
    labels = np.zeros((height, width), np.uint8)
    for thing in scene.things:
        corners = np.array(thing.polygon).reshape(-1, 2).round().astype(np.int32)
        cv2.fillPoly(labels, [corners], CLASSES.index(thing.name) + 1)
    return labels


def save_map(labels: np.ndarray, path: Path, kind: str) -> None:
    """Save a label map as 'grey', 'palette', '16-bit', 'rgb' or 'binary' picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == 'palette':
        picture = Image.fromarray(labels, 'P')
        picture.putpalette(np.array(COLOURS, np.uint8).reshape(-1).tolist())
    elif kind == '16-bit':
        picture = Image.fromarray(labels.astype(np.uint16) * 1000)
    elif kind == 'rgb':
        picture = Image.fromarray(np.array(COLOURS, np.uint8)[labels])
    elif kind == 'binary':
        picture = Image.fromarray((labels > 0).astype(np.uint8) * 255)
    else:
        picture = Image.fromarray(labels)
    picture.save(path)


def write_masks(root: Path, some: list, kind: str = 'grey') -> None:
    for one in some:
        save(one, root / 'images' / one.split / one.name)
        path = (root / 'masks' / one.split / one.name).with_suffix('.png')
        save_map(label_map(one), path, kind)


def write_masks_roboflow(root: Path, some: list) -> None:
    for split, part in by_split(some).items():
        folder = root / {'val': 'valid'}.get(split, split)
        for one in part:
            save(one, folder / one.name)
            stem = Path(one.name).stem
            save_map(label_map(one), folder / f'{stem}_mask.png', 'grey')
        names = ('background', *CLASSES)
        rows = [f'{value}, {name}' for value, name in enumerate(names)]
        text = '\n'.join(['Pixel Value, Class', *rows])
        (folder / '_classes.csv').write_text(text, encoding='utf-8')


def write_masks_cvat(root: Path, some: list) -> None:
    for one in some:
        save(one, root / 'JPEGImages' / one.name)
        path = (root / 'SegmentationClass' / one.name).with_suffix('.png')
        save_map(label_map(one), path, 'rgb')
    for split, part in by_split(some).items():
        path = root / 'ImageSets/Segmentation' / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(Path(one.name).stem for one in part))
    rows = [
        f'{name}:{",".join(map(str, colour))}::'
        for name, colour in zip(('background', *CLASSES), COLOURS, strict=True)
    ]
    text = '\n'.join(['# label:color_rgb:parts:actions', *rows])
    (root / 'labelmap.txt').write_text(text, encoding='utf-8')


def write_classes(root: Path, classes: int = 8, images: int = 5) -> None:
    """Write a folder for each class, with images in its own colour."""
    rng = np.random.default_rng(0)
    for label in range(classes):
        colour = rng.integers(0, 255, 3)
        for number in range(images):
            pixels = rng.integers(0, 60, (32, 32, 3)) + colour * 3 // 4
            path = root / f'种类 {label}' / f'{number}.PNG'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
