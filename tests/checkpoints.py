"""Checkpoints as a training writes them: weights, and the config as text."""

from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

import paperzoo


def write_checkpoint(config: str | Config, file: Path, **meta: Any) -> Path:
    """Write a checkpoint with random weights, the same at every call.

    Args:
        config: Name of a config, or one.
        file: Where to write.
        meta: What else it says of itself.
    """
    cfg = paperzoo.load_config(config) if isinstance(config, str) else config
    torch.manual_seed(0)
    weights = paperzoo.build_model(cfg, 'cpu').state_dict()
    file.parent.mkdir(parents=True, exist_ok=True)
    meta = {'cfg': cfg.pretty_text, **meta}
    torch.save({'state_dict': weights, 'meta': meta}, file)
    return file
