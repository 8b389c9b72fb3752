"""LanceDB tables whose rows are sequences and get vectors.

``table`` opens a table, and is the only module that calls LanceDB; ``importing`` adds records; ``fill`` computes the
vectors of the rows that ``pending`` finds, after ``prepare``, and keeps them in ``journals`` until they are written.
``provenance`` identifies the function that computed the vectors of a column, ``status`` counts rows. ``index`` builds
and measures an index, and ``collection`` makes a table searchable like a reference.
"""
