"""The built-in Glyphs set: 200 / 40 / 60 drawn characters of 20 drawings at 32x32."""

from mmengine.config import read_base

from paperzoo.data.few_shot_transforms import ImageRandomCrop, ImageResize

with read_base():
    from .mini_imagenet_episodes import *

glyphs = dict(data_root='data/glyphs/', layout='pickle')
train_pipeline = [
    dict(type=ImageResize, size=28),
    dict(type=ImageRandomCrop, size=28, padding=2, fill=255),
]
test_pipeline = [dict(type=ImageResize, size=28)]
train_dataloader.update(num_workers=0, persistent_workers=False)
val_dataloader.update(batch_size=16, num_workers=0, persistent_workers=False)
test_dataloader.update(batch_size=16, num_workers=0, persistent_workers=False)
train_dataloader['dataset'].update(
    queries=5, episodes=240, pipeline=train_pipeline, **glyphs
)
val_dataloader['dataset'].update(episodes=400, pipeline=test_pipeline, **glyphs)
test_dataloader['dataset'].update(pipeline=test_pipeline, **glyphs)
