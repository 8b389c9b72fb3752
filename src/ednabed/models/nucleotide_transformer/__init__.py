"""Nucleotide Transformer v1, v2, v2-3mer and AgroNT: one native encoder, no remote code and no ``transformers``.

``config`` reads the settings of a checkpoint, ``tokenizer`` turns bases into ids, ``packing`` lays rows side by side
without padding, ``weights`` loads tensors strictly, ``network`` is the forward pass, and ``encoder`` combines them
behind the interface of ``ednabed.models.base``. The first three do not import torch, so that listing models and
tokenising stay fast.
"""
