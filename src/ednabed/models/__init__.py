"""Models: what makes two vectors comparable (``spec``), the seam for encoders (``base``), and the encoders themselves.

``catalog`` is data, ``weights`` finds them on this machine, ``hub`` fetches them (``hub_errors`` says why not),
``load`` turns a name into an embedder, ``verify`` compares with published vectors, ``kmer``, ``barcode`` and
``nucleotide_transformer`` are the encoders, ``fields`` reads their settings.
"""
