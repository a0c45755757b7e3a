"""Label maps of every kind give the same labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import labelled_folders as made
import mmcv
import numpy as np
import pytest
from labelled_folders import CLASSES, COLOURS
from PIL import ExifTags, Image

from paperzoo.data.formats.masks import code_of, codes, read_map
from paperzoo.data.formats.recognise import read_folder
from paperzoo.data.formats.semantic import LoadMappedAnnotations, MaskFolderDataset
from paperzoo.errors import UserError
from paperzoo.registry import DATASETS

SPLITS = ('train', 'val')
KINDS = ('grey', 'palette', '16-bit', 'rgb')
LABELS = np.repeat([0, 1, 2, 1], 6)[:, None].repeat(30, 1).astype(np.uint8)
RED_FIRST = '# label\ncell:200,30,30::\nbackground:0,0,0::\nnuc:30,200,30::\n'
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
        made.save_map(labels, path, 'rgb')
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


def write_pair(
    root: Path, picture: Image.Image, name: str = '0', ending: str = '.png', **exif: Any
) -> None:
    """Save a label map beside an image of its size, which may have an orientation."""
    for folder in ('images', 'masks'):
        (root / folder).mkdir(exist_ok=True)
    Image.new('RGB', picture.size).save(root / f'images/{name}.png', **exif)
    picture.save(root / f'masks/{name}{ending}')


def indexed(labels: np.ndarray, colours: Sequence[tuple[int, ...]]) -> Image.Image:
    picture = Image.fromarray(labels, 'P')
    picture.putpalette(np.array(colours, np.uint8).reshape(-1).tolist())
    return picture


def loaded(root: Path, number: int = 0) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes of a folder, and the labels of an image in training."""
    data = MaskFolderDataset(str(root), pipeline=[])
    record = data.get_data_info(number)
    return data.metainfo['classes'], LoadMappedAnnotations()(record)['gt_seg_map']


@pytest.mark.parametrize('turned', [False, True])
def test_an_image_has_the_map_of_its_whole_name(turned: bool, tmp_path: Path) -> None:
    names = ['plant', 'plant_p', 'x_1', 'x_1_L', 'y', 'y_mask']
    for name in reversed(names) if turned else names:
        write_pair(tmp_path, Image.fromarray(LABELS), name)
    found = read_folder(tmp_path, 'masks')
    told = {one.path.name: one.label_map.name for one in found.images if one.label_map}
    assert told == {f'{name}.png': f'{name}.png' for name in names}


def test_only_the_ends_of_camvid_are_ends(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray(LABELS), 'a')
    (tmp_path / 'masks/a.png').rename(tmp_path / 'masks/a_L.png')
    write_pair(tmp_path, Image.fromarray(LABELS), 'b')
    (tmp_path / 'masks/b.png').rename(tmp_path / 'masks/b_l.png')
    found = read_folder(tmp_path, 'masks')
    assert [one.path.name for one in found.images] == ['a.png']
    assert found.left_out == ['masks/b_l.png: no image belongs to this label map']


def test_a_second_map_of_an_image_is_said(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray(LABELS))
    Image.fromarray(LABELS * 0).save(tmp_path / 'masks/0_gt.png')
    found = read_folder(tmp_path)
    assert found.images[0].label_map == tmp_path / 'masks/0.png'
    assert found.left_out == [
        'masks/0_gt.png: its image has another label map, masks/0.png'
    ]


@pytest.mark.parametrize('padding', [0, 253])
def test_a_palette_and_a_table_agree_by_colour(tmp_path: Path, padding: int) -> None:
    colours = [*COLOURS[:3], *[(0, 0, 0)] * padding]
    write_pair(tmp_path, indexed(LABELS, colours))
    (tmp_path / 'labelmap.txt').write_text(RED_FIRST)
    classes, labels = loaded(tmp_path)
    assert classes == ('cell', 'background', 'nuc')
    np.testing.assert_array_equal(labels, np.array([1, 0, 2])[LABELS])


def test_void_of_a_palette_does_not_count(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[0] = 255
    rest = [(one, 7, 9) for one in range(252)]
    write_pair(tmp_path, indexed(labels, [*COLOURS[:3], *rest, (224, 224, 192)]))
    (tmp_path / 'labelmap.txt').write_text(RED_FIRST)
    assert read_folder(tmp_path).ignored == ((224, 224, 192),)
    assert (loaded(tmp_path)[1][0] == 255).all()


def test_a_palette_for_show_is_taken_by_its_numbers(tmp_path: Path) -> None:
    write_pair(tmp_path, indexed(LABELS, [(9, 9, 99), (1, 2, 3), (4, 5, 6)]))
    (tmp_path / 'labelmap.txt').write_text(RED_FIRST)
    assert (
        'taken for the rows of the table, 0 for cell' in read_folder(tmp_path).notes[0]
    )
    np.testing.assert_array_equal(loaded(tmp_path)[1], LABELS)


def test_a_palette_that_shares_some_colours_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path, indexed(LABELS, [(0, 0, 0), (200, 30, 30), (1, 2, 3)]))
    (tmp_path / 'labelmap.txt').write_text(RED_FIRST)
    with pytest.raises(UserError, match=r'\(1, 2, 3\) is no colour of the table'):
        read_folder(tmp_path)


def test_palettes_that_begin_alike_are_one(tmp_path: Path) -> None:
    write_pair(tmp_path, indexed(LABELS.clip(max=1), COLOURS[:2]), '0')
    write_pair(tmp_path, indexed(LABELS, COLOURS[:3]), '1')
    (tmp_path / 'classes.txt').write_text('bg\ncell\nnuc\n')
    found = read_folder(tmp_path)
    assert found.classes == ('bg', 'cell', 'nuc')
    assert found.pixel_values == (0, 1, 2)


def test_classes_txt_cannot_name_colours(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray(np.array(COLOURS, np.uint8)[LABELS]))
    (tmp_path / 'classes.txt').write_text('bg\ncell\nnuc\n')
    (note,) = read_folder(tmp_path).notes
    assert note.startswith('classes.txt has no colours')
    assert note.endswith('add a class_dict.csv (name, r, g, b)')


def test_grey_colours_are_numbers(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray(np.dstack([LABELS] * 3)))
    (tmp_path / 'classes.txt').write_text('bg\ncell\nnuc\n')
    found = read_folder(tmp_path)
    assert (found.classes, found.notes) == (('bg', 'cell', 'nuc'), [])
    np.testing.assert_array_equal(loaded(tmp_path)[1], LABELS)


def test_grey_colours_of_a_table_are_numbers(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray((LABELS > 0).astype(np.uint8) * 255))
    (tmp_path / 'labelmap.txt').write_text('cell:255,255,255::\nbg:0,0,0::\n')
    classes, labels = loaded(tmp_path)
    assert classes == ('cell', 'bg')
    np.testing.assert_array_equal(labels, LABELS == 0)


def test_two_names_for_0_and_255(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray((LABELS > 0).astype(np.uint8) * 255))
    (tmp_path / 'classes.txt').write_text('bg\ncell\n')
    assert read_folder(tmp_path).ignored == ()
    np.testing.assert_array_equal(loaded(tmp_path)[1], LABELS > 0)
    (tmp_path / 'classes.txt').write_text('cell\n')
    with pytest.raises(UserError, match='255 has no name'):
        read_folder(tmp_path)


def test_whole_numbers_of_floats_are_values(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray(LABELS.astype(np.float32)), ending='.tif')
    assert read_folder(tmp_path).pixel_values == (0, 1, 2)
    np.testing.assert_array_equal(loaded(tmp_path)[1], LABELS)
    halves = Image.fromarray(LABELS.astype(np.float32) / 2)
    write_pair(tmp_path, halves, ending='.tif')
    with pytest.raises(
        UserError, match=r'0\.tif: the label map holds fractions .* 0\.5'
    ):
        read_folder(tmp_path)


@pytest.mark.parametrize('named', [False, True])
@pytest.mark.parametrize(
    ('void', 'kind', 'ending'), [(-1, np.int32, '.tif'), (65535, np.uint16, '.png')]
)
def test_voids_of_wide_numbers_do_not_count(
    void: int, kind: type, ending: str, named: bool, tmp_path: Path
) -> None:
    labels: np.ndarray = LABELS.astype(kind)
    labels[0] = void
    write_pair(tmp_path, Image.fromarray(labels), ending=ending)
    if named:
        (tmp_path / 'classes.txt').write_text('bg\ncell\nnuc\n')
    found = read_folder(tmp_path)
    assert found.pixel_values == (0, 1, 2)
    assert void in found.ignored
    assert found.notes[0].startswith(f'pixels of the value {void} ')
    wanted = LABELS.copy()
    wanted[0] = 255
    np.testing.assert_array_equal(loaded(tmp_path)[1], wanted)


def test_numbers_below_0_are_no_classes(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray(LABELS.astype(np.int32) - 7), ending='.tif')
    with pytest.raises(UserError, match=r'0\.tif: the value -7 is no class'):
        read_folder(tmp_path)


@pytest.mark.parametrize('table', ['', 'bg\ncell\n'])
def test_maps_resized_with_interpolation_are_refused(
    table: str, tmp_path: Path
) -> None:
    small = np.zeros((24, 32), np.uint8)
    small[5:15, 5:20] = 255
    small[9:20, 12:28] = 255
    bicubic = Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC)
    write_pair(tmp_path, bicubic)
    if table:
        (tmp_path / 'classes.txt').write_text(table)
    with pytest.raises(UserError, match='lie on edges only') as error:
        read_folder(tmp_path)
    assert 'Resize with nearest neighbour' in str(error.value)


@pytest.mark.parametrize('values', [[0, 255, 128], [7, 24, 26], [0, 1000, 30000]])
def test_values_with_gaps_are_classes(values: list[int], tmp_path: Path) -> None:
    labels = np.array(values, np.uint16)[LABELS]
    write_pair(tmp_path, Image.fromarray(labels))
    found = read_folder(tmp_path)
    assert found.pixel_values == tuple(sorted(values))
    assert found.notes[-1].endswith('add a _classes.csv (Pixel Value, Class)')


@pytest.mark.parametrize(
    ('file', 'text', 'why'),
    [
        ('class_dict.csv', 'name,r,g,b\na,1,2,3\nb,1,2,3\n', "'a' and 'b' both have"),
        ('_classes.csv', 'Pixel Value,Class\n1,a\n1,b\n', "'a' and 'b' both have 1"),
        ('labelmap.txt', 'a:1,2,3::\nb:1,2,3::\n', "'a' and 'b' both have"),
        ('class_dict.csv', 'name,r,g,b\na,0,256,0\n', 'line 2: neither'),
    ],
)
def test_tables_that_contradict_themselves(
    file: str, text: str, why: str, tmp_path: Path
) -> None:
    write_pair(tmp_path, Image.fromarray(LABELS))
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=f'{file}.*{why}'):
        read_folder(tmp_path)


def test_more_classes_than_labels_are_refused(tmp_path: Path) -> None:
    colours = np.zeros((16, 16, 3), np.uint8)
    colours[..., 0] = np.arange(256).reshape(16, 16)
    write_pair(tmp_path, Image.fromarray(colours))
    with pytest.raises(UserError, match=r'256 classes.*learned with 255 at most'):
        read_folder(tmp_path)


def test_a_coloured_map_among_numbers_is_refused_in_training(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray(LABELS))
    data = MaskFolderDataset(str(tmp_path), pipeline=[])
    colours = np.zeros((*LABELS.shape, 3), np.uint8)
    colours[..., 2] = LABELS
    Image.fromarray(colours).save(tmp_path / 'masks/0.png')
    with pytest.raises(UserError, match='the label map is coloured, unlike the others'):
        LoadMappedAnnotations()(data.get_data_info(0))


def orientation(number: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = number
    return exif


def test_a_map_is_turned_as_its_image_is(tmp_path: Path) -> None:
    """A tool that keeps the orientation writes it into both."""
    write_pair(tmp_path, Image.fromarray(LABELS), exif=orientation(6))
    path = tmp_path / 'masks/0.png'
    Image.fromarray(LABELS).save(path, exif=orientation(6))
    np.testing.assert_array_equal(read_map(path), np.rot90(LABELS, -1))
    np.testing.assert_array_equal(loaded(tmp_path)[1], np.rot90(LABELS, -1))
    image = mmcv.imfrombytes((tmp_path / 'images/0.png').read_bytes())
    assert image.shape[:2] == loaded(tmp_path)[1].shape


def test_a_map_of_the_size_that_is_shown_fits(tmp_path: Path) -> None:
    write_pair(tmp_path, Image.fromarray(LABELS), exif=orientation(6))
    shown = np.ascontiguousarray(np.rot90(LABELS, -1))
    Image.fromarray(shown).save(tmp_path / 'masks/0.png')
    np.testing.assert_array_equal(loaded(tmp_path)[1], shown)


@pytest.mark.parametrize(
    ('number', 'square', 'why'),
    [
        (6, False, 'turned by its EXIF orientation. Save the image without'),
        (6, True, 'nothing tells whether masks/0.png is turned already'),
        (3, False, 'nothing tells whether masks/0.png is turned already'),
    ],
)
def test_a_map_that_may_lie_otherwise_is_left_out(
    number: int, square: bool, why: str, tmp_path: Path
) -> None:
    side = LABELS.shape[0] if square else None
    turned = Image.fromarray(np.ascontiguousarray(LABELS[:, :side]))
    write_pair(tmp_path, turned, exif=orientation(number))
    write_pair(tmp_path, Image.fromarray(LABELS), '1', exif=orientation(1))
    found = read_folder(tmp_path)
    assert [one.path.name for one in found.images] == ['1.png']
    (line,) = found.left_out
    assert why in line


@pytest.mark.data
def test_real_streets(real_data: Path) -> None:
    found = read_folder(real_data / 'camvid')
    assert found.splits() == {'train': 367, 'val': 101, 'test': 233}
    assert (found.pixel_values, found.ignored) == (tuple(range(11)), (255,))
    image = found.images[0]
    assert image.label_map is not None
    assert read_map(image.label_map).shape == (image.height, image.width)


@pytest.mark.parametrize('ending', ['', '.jpg', '.JPG'])
def test_lists_of_voc_with_and_without_suffixes(ending: str, tmp_path: Path) -> None:
    for number in range(4):
        for folder, kind in (('JPEGImages', 'jpg'), ('SegmentationClass', 'png')):
            path = tmp_path / folder / f'{number}.{kind}'
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.eye(8, dtype=np.uint8) * (kind == 'png')).save(path)
    lists = tmp_path / 'ImageSets' / 'Segmentation'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text(f'0{ending}\n1{ending}\n')
    (lists / 'val.txt').write_text(f'2{ending}\n3{ending}\n')
    assert read_folder(tmp_path).splits() == {'train': 2, 'val': 2}
