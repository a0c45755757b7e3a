"""Hooks and runner parts that any config can use."""

from paperzoo.engine.amp import Bf16OptimWrapper
from paperzoo.engine.memory_format import ChannelsLastHook
from paperzoo.engine.pictures import PicturePageHook

__all__ = ['Bf16OptimWrapper', 'ChannelsLastHook', 'PicturePageHook']
