"""What belongs to the process, and stays as it was whoever calls a model."""

import logging
import os
import random
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import torch
from mmengine.registry import DefaultScope


def settings() -> dict[str, Any]:
    """Return the settings of the process that a call must leave as they were."""
    return {
        'scope': dict(DefaultScope._instance_dict),
        'backend': mpl.rcParams._get('backend'),
        'logging': (
            logging.root.level,
            logging.root.disabled,
            logging.root.handlers[:],
        ),
        'disabled': logging.root.manager.disable,
        'grad': torch.is_grad_enabled(),
        'inference': torch.is_inference_mode_enabled(),
        'autocast': torch.is_autocast_enabled('cpu'),
        'threads': torch.get_num_threads(),
        'cv2 threads': cv2.getNumThreads(),
        'dtype': torch.get_default_dtype(),
        'deterministic': torch.are_deterministic_algorithms_enabled(),
        'cudnn': (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        'folder': os.getcwd(),
        'numpy errors': np.geterr(),
    }


def random_states() -> tuple[Any, ...]:
    """Return the states of all generators of random numbers, as texts."""
    return (
        random.getstate(),
        np.random.get_state()[1].tobytes(),  # type: ignore[index, union-attr]
        torch.random.get_rng_state().numpy().tobytes(),
    )
