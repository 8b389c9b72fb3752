"""The project's own encoders: learned maps of k-mer counts, or of the vectors of another encoder.

``kmers`` counts canonical k-mers, contiguous and spaced, ``config`` says what a model folder is, ``files`` writes and
reads its weights, ``encoder`` joins them behind the seam of ``ednabed.models.base``. All of it is numpy and scipy;
torch is needed for training only (``ednabed.training``).
"""
