"""The engine: an embedder and sequences in, vectors out.

``device`` picks device and precision, ``open`` joins a model with a policy on a device, ``pieces`` turns sequences into
rows within the token limit (strands, windows, truncation), ``embed`` fills batches, backs off when memory runs out and
restores the order. Nothing here reads or writes a file.
"""
