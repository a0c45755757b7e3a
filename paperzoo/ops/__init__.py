"""mmcv's compiled ops in pure PyTorch, called as mmcv's Python wrappers call them.

Each file holds the mathematics as pure functions and, below them, the entry points,
which write into the buffers that mmcv passes. `table` lists these for mmcv, which finds
them through `paperzoo.compat.mmcv_ext`.
"""
