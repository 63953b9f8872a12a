"""Lengthen the context of RoPE language models, and measure whether it worked."""
