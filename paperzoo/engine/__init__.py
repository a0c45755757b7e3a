"""Hooks and runner parts that any config can use."""

from paperzoo.engine.pictures import PicturePageHook

__all__ = ['PicturePageHook']
