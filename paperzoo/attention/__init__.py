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
    explain.py: whom a token attends to, as arrays.

Masks are true where something is hidden, as in torch and mmdet.

Where we differ from the papers: positions count from 1, as in mmdet, and may be added
in each layer to what is compared; a token that may see nothing gets zeros, and what is
outside of an image is left out of the softmax, both of which the papers leave open; a
stride is between windows, where the paper pools; without `groups`, heads of a
neighbourhood see all channels of the input, in the paper only their own share.
"""

from paperzoo.attention.explain import GlobalView, LocalView, attention_views
from paperzoo.attention.functional import (
    attention,
    attention_weights,
    causal_mask,
    padding_mask,
)
from paperzoo.attention.local import LocalSelfAttention2d
from paperzoo.attention.modules import MultiHeadSelfAttention
from paperzoo.attention.positions import (
    SinePositionalEncoding,
    relative_scores,
    sine_positions,
)
from paperzoo.attention.schedule import InverseSqrtLR
from paperzoo.attention.sequence_models import SequenceTagger, SetClassifier
from paperzoo.attention.transformer import TransformerEncoder, TransformerEncoderLayer
from paperzoo.attention.translator import SequenceTranslator
from paperzoo.attention.windows import (
    Window,
    neighbour_scores,
    neighbour_spread,
    neighbour_sums,
)

__all__ = [
    'GlobalView',
    'InverseSqrtLR',
    'LocalSelfAttention2d',
    'LocalView',
    'MultiHeadSelfAttention',
    'SequenceTagger',
    'SequenceTranslator',
    'SetClassifier',
    'SinePositionalEncoding',
    'TransformerEncoder',
    'TransformerEncoderLayer',
    'Window',
    'attention',
    'attention_views',
    'attention_weights',
    'causal_mask',
    'neighbour_scores',
    'neighbour_spread',
    'neighbour_sums',
    'padding_mask',
    'relative_scores',
    'sine_positions',
]
