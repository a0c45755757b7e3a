"""Self-attention: Attention Is All You Need, arXiv 1706.03762, and in neighbourhoods.

A token takes from others as much as its query agrees with their keys: from all of them,
or (Stand-Alone Self-Attention in Vision Models, arXiv 1906.05909) from those around it.

Files, the general paper first:
    functional.py: Eq. 1, with weights that can be looked at, and masks.
    positions.py: sinusoidal positions ("Positional Encoding") of sequences and maps,
        and scores of relative ones.
    modules.py: MultiHeadSelfAttention ("Multi-Head Attention").
    transformer.py: the layers of an encoder or a decoder.
    windows.py: products with neighbourhoods that are never copied.
    local.py: LocalSelfAttention2d, which takes a convolution's place by `conv_cfg`.
    sequence_models.py: the models SequenceTagger, a label for each token, and
        SetClassifier, one for all; translator.py: SequenceTranslator, whose answer's
        length is its own; schedule.py: Eq. 3 as a scheduler.

Masks are true where something is hidden, as in torch and mmdet.

Where we differ from the papers: positions count from 1, as in mmdet, and may be added
in each layer to what is compared; a token that may see nothing gets zeros, and what is
outside of an image is left out of the softmax, both of which the papers leave open; a
stride is between windows, where the paper pools; without `groups`, heads of a
neighbourhood see all channels of the input, in the paper only their own share.
"""

import lazy_loader

# Names and their files are in __init__.pyi: each is imported when it is asked for.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
