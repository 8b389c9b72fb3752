"""Nucleotide Transformer v1, v2, v2-3mer and AgroNT: one native encoder, no remote code and no ``transformers``.

``config`` says what a checkpoint is, ``tokenizer`` turns letters into ids, ``packing`` lays rows side by side without
padding, ``weights`` loads tensors strictly, ``network`` is the forward pass, ``encoder`` joins them behind the seam
of ``ednabed.models.base``. The first three import no torch, so that listing models and tokenising stay quick.
"""
