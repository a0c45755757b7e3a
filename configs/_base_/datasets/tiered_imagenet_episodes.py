"""tieredImageNet, 351 / 97 / 160 classes, as pickles of images and of labels."""

from mmengine.config import read_base

from paperzoo.data.few_shot_transforms import ImageResize

with read_base():
    from .mini_imagenet_episodes import *

tiered = dict(
    data_root='data/tiered_imagenet/',
    layout='pickle',
    ann_file='{split}_labels.pkl',
    img_path='{split}_images_png.pkl',
)
# Images of 224 pixels; those of 84 that also go about cost five points of accuracy.
train_pipeline[0] = dict(type=ImageResize, size=92)
train_pipeline[1].update(padding=0)
test_pipeline[0] = dict(type=ImageResize, size=92)
train_dataloader['dataset'].update(episodes=13980, pipeline=train_pipeline, **tiered)
val_dataloader['dataset'].update(pipeline=test_pipeline, **tiered)
test_dataloader['dataset'].update(pipeline=test_pipeline, **tiered)
