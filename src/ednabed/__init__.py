"""ednabed: environmental-DNA sequences to vectors, kept in order, searched and named."""
__version__ = "0.1.0"
