"""Hooks and runner parts that any config can use."""

from paperzoo.engine.memory_format import ChannelsLastHook
from paperzoo.engine.pictures import PicturePageHook

__all__ = ['ChannelsLastHook', 'PicturePageHook']
