"""The engine: takes an embedder and sequences, and returns vectors.

``device`` chooses the device and precision, ``open`` loads a model with a policy on a device, ``pieces`` turns
sequences into token rows within the limit (strands, windows, truncation), ``embed`` fills batches, backs off when
memory runs out and restores the order. Only ``progress`` writes a file, for the state of the progress bar.
"""
