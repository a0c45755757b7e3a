"""All that is wrong with a config and its data, without running anything."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paperzoo.apis.training import config_to_train
from paperzoo.errors import UserError

if TYPE_CHECKING:
    from mmengine.config import Config

    from paperzoo.preflight.issues import Example, Issue


def check(
    config: 'str | Path | Config',
    *,
    cfg_options: Mapping[str, Any] | None = None,
    work_dir: str | Path | None = None,
) -> 'list[Issue]':
    """Return what is wrong with a config and its data, errors first.

    Args:
        config: A path or a bare name, or what `load_config` gives.
        cfg_options: Overrides by dotted key.
        work_dir: Where a training would write.

    Raises:
        UserError: If there is no such config.

    Example:
        >>> from paperzoo.apis.check import check
        >>> options = {'model.bbox_head.num_classes': 8}
        >>> (issue,) = check('fcos_tiny_shapes', cfg_options=options)
        >>> issue.text.partition(',')[0]
        'model.bbox_head.num_classes = 8'
    """
    from paperzoo.preflight.issues import Issue
    from paperzoo.preflight.run import preflight
    from paperzoo.preflight.spelling import check_config

    cfg = config_to_train(config, cfg_options, work_dir)
    try:
        check_config(cfg)
    except UserError as error:
        return [Issue(str(error))]  # with wrong names nothing else is understood
    return sorted(preflight(cfg, ('train', 'val', 'test')), key=_warnings_last)


def draw_examples(issues: 'Sequence[Issue]', out: str | Path = 'check') -> Path | None:
    """Write one page of pictures of what is wrong, each with its box in red.

    Args:
        issues: As `check` returns them.
        out: A new folder: another one if there is one of this name.

    Returns:
        The page, or None if no issue has a picture that can be read.

    Raises:
        UserError: If nothing can be written.

    Example:
        >>> from paperzoo.apis.check import draw_examples
        >>> draw_examples([]) is None
        True
    """
    from paperzoo.utils.files import new_folder
    from paperzoo.visualization.overlays import write_page

    some = [one for issue in issues for one in issue.examples]
    drawn = [
        (one.text, picture) for one in some if (picture := _picture(one)) is not None
    ]
    if not drawn:
        return None
    return write_page(new_folder(Path(out)) / 'page.jpg', drawn, columns=3, width=420)


def _picture(example: 'Example') -> Any:
    """Return an image with a box in it; one that lies outside is in a grey margin."""
    import cv2
    import numpy as np

    from paperzoo.apis.images import check_image_file

    try:
        check_image_file(example.file)
        image = cv2.imread(str(example.file))
    except UserError:
        return None
    if image is None or not np.isfinite(example.box).all():
        return None
    height, width = image.shape[:2]
    left, top, wide, high = example.box
    # A margin of half the image at most: what is far away is far away.
    rows, columns = height // 2, width // 2
    before = (min(rows, max(0, round(-top))), min(columns, max(0, round(-left))))
    after = (
        min(rows, max(0, round(top + high - height))),
        min(columns, max(0, round(left + wide - width))),
    )
    grey = (160, 160, 160)
    framed = cv2.copyMakeBorder(
        image, before[0], after[0], before[1], after[1], cv2.BORDER_CONSTANT, value=grey
    )
    limits = 4 * max(framed.shape)
    corners = np.clip(
        [
            left + before[1],
            top + before[0],
            left + wide + before[1],
            top + high + before[0],
        ],
        -limits,
        limits,
    )
    x0, y0, x1, y1 = (round(float(one)) for one in corners)
    thick = max(2, max(framed.shape) // 200)
    return cv2.rectangle(framed, (x0, y0), (x1, y1), (0, 0, 255), thick)


def _warnings_last(issue: 'Issue') -> bool:
    return not issue.stops
