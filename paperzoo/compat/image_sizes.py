"""OpenCV decodes no picture that would fill the memory.

Ailment: a picture of a few kilobytes may say that it has a billion pixels. Pillow
refuses more than 179 million; OpenCV, with which mmcv reads, takes up to 1074 million:
3 GB for one.
Upstream thread: none; opencv/modules/imgcodecs/src/loadsave.cpp.
Delete when: OpenCV's limit is no higher than Pillow's.

OpenCV reads its limit from the environment when it is imported; one that its user has
set stays.
"""

import os

VARIABLE = 'OPENCV_IO_MAX_IMAGE_PIXELS'
MOST_PIXELS = 178_956_970  # as Pillow's


def apply() -> None:
    """Lower OpenCV's limit."""
    os.environ.setdefault(VARIABLE, str(MOST_PIXELS))
