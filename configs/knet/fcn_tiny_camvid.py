"""mmseg's plain FCN on CamVid: knet_tiny_camvid without K-Net, to compare with.

Paper: knet (arXiv 2106.14855) compares with it; the kernels there start as this head
Expect: mIoU 36.0 on CamVid, one seed
    (benchmarks/results/knet_camvid.json)
Run: PAPERZOO_DATA=FOLDER_OF_camvid mim train paperzoo fcn_tiny_camvid.py
"""

from mmengine.config import read_base

with read_base():
    from .knet_tiny_camvid import *

model['decode_head'] = model['decode_head']['kernel_generate_head']
