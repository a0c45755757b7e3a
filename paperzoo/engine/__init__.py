"""Hooks and runner parts that any config can use."""

from paperzoo.engine.amp import Bf16OptimWrapper
from paperzoo.engine.compile import CompileHook
from paperzoo.engine.episode_loop import EpisodeTestLoop, EpisodeValLoop
from paperzoo.engine.finite_loss import FiniteLossHook
from paperzoo.engine.memory_format import ChannelsLastHook
from paperzoo.engine.picture_page import PicturePageHook
from paperzoo.engine.progress import ProgressBarHook
from paperzoo.engine.random_state import ResumableRandomnessHook

__all__ = [
    'Bf16OptimWrapper',
    'ChannelsLastHook',
    'CompileHook',
    'EpisodeTestLoop',
    'EpisodeValLoop',
    'FiniteLossHook',
    'PicturePageHook',
    'ProgressBarHook',
    'ResumableRandomnessHook',
]
