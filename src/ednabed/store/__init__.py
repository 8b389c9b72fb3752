"""What lies on disk: runs, LanceDB tables, and work in progress.

``files`` writes whole or not at all; ``journal`` keeps computed vectors across a kill; ``distinct`` numbers distinct
sequences without holding them in memory. ``manifest`` and ``runs`` are the run folder; ``run_writer`` makes one, first
reading (``staging``), then computing (``run_vectors``). ``table`` is the LanceDB table; ``table_import`` adds records,
``table_embed`` fills vectors after ``table_prepare``, ``table_pending`` finds the rows and gives them their results;
``checkpoint`` writes the guide's information file. ``compress`` does what ``compress_plan`` decides.
"""
