"""What classifiers of few-shot episodes share: the backbone, and what surrounds a rule.

Files:
    resnet12.py: the backbone, with DropBlock.
    preprocessor.py: brings episodes to the device.
    episode_classifier.py: embedding, prototypes, losses, predictions.
"""

import lazy_loader

# Names and their files are in __init__.pyi: each is imported when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
