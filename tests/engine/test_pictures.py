"""The page of pictures has every picture at its place."""

import numpy as np

from paperzoo.engine.pictures import make_grid


def test_grid_places_pictures_row_by_row() -> None:
    pictures = [
        np.full((h, 10, 3), value, np.uint8) for value, h in ((1, 4), (2, 6), (3, 5))
    ]
    grid = make_grid(pictures, columns=2, gap=2)
    assert grid.shape == ((6 + 2) + (5 + 2), 2 * 12 + 2, 3)
    assert (grid[2:6, 2:12] == 1).all()
    assert (grid[2:8, 14:24] == 2).all()
    assert (grid[10:15, 2:12] == 3).all()
    # Everything else is white.
    assert (grid == 255).sum() == grid.size - 3 * 10 * (4 + 6 + 5)
