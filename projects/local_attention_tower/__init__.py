"""Local self-attention in place of, and mixed with, convolution in FCOS's towers."""
