"""Label maps of every kind give the same labels."""

from pathlib import Path

import labelled_folders as made
import numpy as np
import pytest
from labelled_folders import CLASSES, COLOURS
from PIL import Image

from paperzoo.data.formats.masks import code_of, codes, read_map
from paperzoo.data.formats.recognise import read_folder
from paperzoo.errors import UserError
from paperzoo.registry import DATASETS

SPLITS = ('train', 'val')
KINDS = ('grey', 'palette', '16-bit', 'rgb')
LOAD = [
    dict(type='LoadImageFromFile'),
    dict(type='paperzoo.LoadMappedAnnotations'),
    dict(type='PackSegInputs'),
]


@pytest.fixture
def some() -> list:
    return made.scenes(4, splits=SPLITS)


def labels_of(root: Path, some: list, split: str) -> None:
    """Compare what the pipeline loads with the truth."""
    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')
    data = DATASETS.build(
        dict(
            type='paperzoo.MaskFolderDataset',
            data_root=str(root),
            split=split,
            pipeline=LOAD,
        )
    )
    wanted = {one.name: one for one in some if one.split == split}
    assert len(data) == len(wanted) == 2
    for item in data:
        sample = item['data_samples']
        scene = wanted[Path(sample.img_path).name]
        np.testing.assert_array_equal(
            sample.gt_sem_seg.data[0].numpy(), made.label_map(scene)
        )
        pixels = item['inputs'].permute(1, 2, 0).numpy()[..., ::-1].astype(float)
        assert abs(pixels - scene.pixels).mean() < 20  # a JPEG of noise


@pytest.mark.parametrize('kind', KINDS)
def test_kinds(kind: str, tmp_path: Path, some: list) -> None:
    made.write_masks(tmp_path, some, kind)
    found = read_folder(tmp_path)
    assert (found.format, found.splits()) == ('masks', {'train': 2, 'val': 2})
    assert len(found.classes) == 4
    labels = range(4)
    values = {'16-bit': [1000 * one for one in labels], 'rgb': sorted(COLOURS)}
    assert found.pixel_values == tuple(values.get(kind, labels))
    if kind == 'palette':
        assert found.palette == COLOURS
    if kind != 'rgb':  # whose order is that of the colours
        labels_of(tmp_path, some, 'train')


@pytest.mark.parametrize('write', [made.write_masks_roboflow, made.write_masks_cvat])
def test_exports_with_a_table(write: made.Writer, tmp_path: Path, some: list) -> None:
    write(tmp_path, some)
    found = read_folder(tmp_path)
    assert found.classes == ('background', *CLASSES)
    assert found.splits() == {'train': 2, 'val': 2}
    labels_of(tmp_path, some, 'val')


def test_names_from_classes_txt(tmp_path: Path, some: list) -> None:
    made.write_masks(tmp_path, some)
    (tmp_path / 'classes.txt').write_text('\n'.join(('bg', *CLASSES)), 'utf-8')
    found = read_folder(tmp_path)
    assert found.classes == ('bg', *CLASSES)
    assert found.ignored == (255,)
    (tmp_path / 'classes.txt').write_text('bg\nfirst\n')
    with pytest.raises(UserError, match=r'value \d has no name'):
        read_folder(tmp_path)


def test_one_class_against_the_background(tmp_path: Path, some: list) -> None:
    made.write_masks(tmp_path, some, 'binary')
    found = read_folder(tmp_path)
    assert found.classes == ('background', 'object')
    assert (found.pixel_values, found.ignored) == ((0, 255), ())


def test_void_does_not_count(tmp_path: Path, some: list) -> None:
    made.write_masks(tmp_path, some)
    path = next((tmp_path / 'masks/train').iterdir())
    labels = np.array(Image.open(path))
    labels[:5] = 255
    Image.fromarray(labels).save(path)
    found = read_folder(tmp_path)
    assert (found.pixel_values, found.ignored) == ((0, 1, 2, 3), (255,))


def test_palettes_of_each_picture_are_read_as_colours(
    tmp_path: Path, some: list
) -> None:
    """A converter that orders each palette anew gives a class several numbers."""
    made.write_masks(tmp_path, some, 'rgb')
    for number, path in enumerate(sorted((tmp_path / 'masks').rglob('*.png'))):
        order = np.roll(np.arange(4), number)
        back = np.argsort(order).astype(np.uint8)
        rgb = np.array(Image.open(path))
        labels = (rgb[:, :, None] == np.array(COLOURS)).all(-1).argmax(-1)
        picture = Image.fromarray(back[labels], 'P')
        picture.putpalette(np.array(COLOURS, np.uint8)[order].reshape(-1).tolist())
        picture.save(path)
    assert read_folder(tmp_path).pixel_values == tuple(sorted(COLOURS))


def test_a_value_that_was_not_there_is_refused_in_training(
    tmp_path: Path, some: list
) -> None:
    from mmengine.registry import init_default_scope

    init_default_scope('mmseg')
    made.write_masks(tmp_path, some)
    data = DATASETS.build(
        dict(type='paperzoo.MaskFolderDataset', data_root=str(tmp_path), pipeline=LOAD)
    )
    path = Path(data.get_data_info(0)['seg_map_path'])
    labels = np.array(Image.open(path))
    labels[3, 4] = 77
    Image.fromarray(labels).save(path)
    with pytest.raises(UserError, match='row 3, column 4: 77 is the value of no class'):
        data[0]


@pytest.mark.parametrize('what', ['size', 'jpeg', 'mixed', 'photo', 'alone'])
def test_maps_that_are_none(what: str, tmp_path: Path, some: list) -> None:
    made.write_masks(tmp_path, some)
    path = tmp_path / 'masks/train/scene 0.png'
    labels = np.array(Image.open(path))
    if what == 'size':
        Image.fromarray(labels[:-1]).save(path)
        left_out = read_folder(tmp_path).left_out
        assert 'the label map has' in left_out[0]
        assert 'masks/train/scene 0.png' in left_out[0]
        return
    if what == 'alone':
        (tmp_path / 'images/train/scene 0.jpg').unlink()
        found = read_folder(tmp_path)
        assert found.left_out == [
            'masks/train/scene 0.png: no image belongs to this label map'
        ]
        return
    if what == 'jpeg':
        path.unlink()
        Image.fromarray(labels).save(path.with_suffix('.jpg'))
    elif what == 'mixed':
        Image.fromarray(labels).convert('RGB').save(path)
    else:
        noise = np.random.default_rng(0).integers(0, 9999, labels.shape)
        Image.fromarray(noise.astype(np.uint16)).save(path)
    why = {'jpeg': 'as JPEG', 'mixed': 'of one kind', 'photo': 'photographs'}[what]
    with pytest.raises(UserError, match=why):
        read_folder(tmp_path)


def test_another_number_of_names(tmp_path: Path, some: list) -> None:
    made.write_masks(tmp_path, some)
    with pytest.raises(UserError, match='names 2 classes, the label maps have 4'):
        DATASETS.build(
            dict(
                type='paperzoo.MaskFolderDataset',
                data_root=str(tmp_path),
                metainfo=dict(classes=('a', 'b')),
            )
        )


def test_codes_of_colours_are_those_of_values() -> None:
    colours = np.array([COLOURS], np.uint8)
    assert codes(colours)[0].tolist() == [code_of(one) for one in COLOURS]


@pytest.mark.data
def test_real_streets(real_data: Path) -> None:
    found = read_folder(real_data / 'camvid')
    assert found.splits() == {'train': 367, 'val': 101, 'test': 233}
    assert (found.pixel_values, found.ignored) == (tuple(range(11)), (255,))
    image = found.images[0]
    assert image.label_map is not None
    assert read_map(image.label_map).shape == (image.height, image.width)
