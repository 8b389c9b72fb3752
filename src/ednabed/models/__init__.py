"""Models: the conditions for comparable vectors (``spec``), the encoder interface (``base``) and the encoders.

``catalog`` lists the models, ``weights`` finds their weights on this machine, ``hub`` fetches them (``hub_errors``
explains failures), ``load`` turns a name into an embedder, ``verify`` compares with published vectors, ``kmer``,
``barcode`` and ``nucleotide_transformer`` are the encoders, and ``fields`` reads their settings.
"""
