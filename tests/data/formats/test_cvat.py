"""CVAT's shapes beyond boxes and polygons, and what is wrong with a file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paperzoo.data.formats.cvat import read_cvat
from paperzoo.data.formats.description import LabelledSet
from paperzoo.data.formats.folder import Folder
from paperzoo.errors import UserError
from paperzoo.utils.masks import decode


def read(root: Path, shapes: str, meta: str = '') -> LabelledSet:
    (root / 'images').mkdir(exist_ok=True)
    Image.new('RGB', (40, 20)).save(root / 'images/a.png')
    (root / 'annotations.xml').write_text(
        f'<annotations>{meta}<image id="0" name="a.png" width="40" height="20">'
        f'{shapes}</image></annotations>'
    )
    return read_cvat(Folder(root))


def test_a_turned_box_is_a_polygon(tmp_path: Path) -> None:
    box = '<box label="a" xtl="10" ytl="8" xbr="20" ybr="12" rotation="90"/>'
    (one,) = read(tmp_path, box).images[0].objects
    np.testing.assert_allclose(one.box, (13, 5, 17, 15))
    assert one.mask is not None


def test_an_ellipse(tmp_path: Path) -> None:
    ellipse = '<ellipse label="a" cx="20" cy="10" rx="8" ry="4"/>'
    (one,) = read(tmp_path, ellipse).images[0].objects
    np.testing.assert_allclose(one.box, (12, 6, 28, 14))


def test_a_painted_mask(tmp_path: Path) -> None:
    # Row by row in a box of 3 x 2 at (5, 4): .XX / X..
    mask = '<mask label="a" rle="1, 3, 2" left="5" top="4" width="3" height="2"/>'
    (one,) = read(tmp_path, mask).images[0].objects
    assert one.box == (5, 4, 8, 6)
    rows, columns = np.nonzero(decode({'segmentation': one.mask}))
    pixels = zip(rows.tolist(), columns.tolist(), strict=True)
    assert list(pixels) == [(4, 6), (4, 7), (5, 5)]


@pytest.mark.parametrize(
    ('shape', 'why'),
    [
        ('<polyline label="a" points="1,2;3,4"/>', 'a polyline has no area'),
        ('<polygon label="a" points="1,2;3,4"/>', 'a polygon of 2 points'),
        ('<polygon label="a" points="1;2;3"/>', 'no pairs of numbers'),
        ('<box xtl="1" ytl="1" xbr="3" ybr="3"/>', 'it has no label'),
        ('<box label="a" ytl="1" xbr="3" ybr="3"/>', 'it has no xtl'),
        ('<box label="a" xtl="x" ytl="1" xbr="3" ybr="3"/>', "xtl is 'x', no number"),
        ('<box label="a" xtl="3" ytl="1" xbr="3" ybr="3"/>', 'the box has no area'),
        ('<mask label="a" rle="9" left="0" top="0" width="3" height="3"/>', 'empty'),
        ('<mask label="a" rle="1" left="9" top="9" width="99" height="1"/>', 'out of'),
        ('<mask label="a" rle="1,8,9" left="0" top="0" width="3" height="3"/>', 'fill'),
        ('<mask label="a" rle="0,6" left="9" top="9" width="-3" height="-2"/>', 'fill'),
        ('<mask label="a" rle="0,1" left="inf" top="0" width="1" height="1"/>', 'inf'),
        ('<ellipse label="a" cx="nan" cy="9" rx="2" ry="2"/>', "cx is 'nan'"),
    ],
)
def test_what_cannot_be_used_is_named(shape: str, why: str, tmp_path: Path) -> None:
    good = '<box label="b" xtl="1" ytl="1" xbr="3" ybr="3"/>'
    found = read(tmp_path, shape + good)
    assert [one.name for one in found.images[0].objects] == ['b']
    (said,) = found.left_out
    assert "annotations.xml, image 'images/a.png', shape 1: " in said
    assert why in said


def test_labels_and_colours_of_the_task(tmp_path: Path) -> None:
    meta = (
        '<meta><task><labels>'
        '<label><name>z</name><color>#ff0010</color></label>'
        '<label><name>a</name><color>#00ff00</color></label>'
        '<label><name>knee</name><color>#0000ff</color><parent>z</parent></label>'
        '</labels></task></meta>'
    )
    found = read(tmp_path, '<tag label="day"/>', meta)
    assert found.classes == ('z', 'a')
    assert found.palette == ((255, 0, 16), (0, 255, 0))
    assert not found.left_out


def test_another_size_or_no_image(tmp_path: Path) -> None:
    read(tmp_path, '<box label="b" xtl="1" ytl="1" xbr="3" ybr="3"/>')
    Image.new('RGB', (20, 40)).save(tmp_path / 'images/a.png')
    with pytest.raises(UserError, match='turned by its EXIF'):
        read_cvat(Folder(tmp_path))


def test_a_broken_file_among_others_is_named(tmp_path: Path) -> None:
    (tmp_path / 'cut.xml').write_text('<annotations><image')
    found = read(tmp_path, '<box label="b" xtl="1" ytl="1" xbr="3" ybr="3"/>')
    assert len(found.images) == 1
    assert found.left_out[0].startswith('cut.xml: no XML')
