"""ednabed's own encoders: learned maps of k-mer counts, or of the vectors of another encoder.

``kmers`` counts canonical k-mers, contiguous and spaced, ``config`` reads the settings of a model folder, ``files``
writes and reads its weights, and ``encoder`` combines them behind the interface of ``ednabed.models.base``. The code
uses only numpy and scipy; torch is needed only for training (``ednabed.training``).
"""
