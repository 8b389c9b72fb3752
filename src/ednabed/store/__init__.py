"""Everything on disk: runs, LanceDB tables and work in progress.

``journal`` preserves computed vectors if the process is killed; ``distinct`` numbers distinct sequences without holding
them in memory. ``manifest`` and ``runs`` describe a run folder; ``run_writer`` creates one by first reading the input
(``staging``) and then computing vectors (``run_vectors``).
``table`` is the LanceDB table; ``table_import`` adds records, ``table_embed`` fills in vectors after ``table_prepare``,
and ``table_pending`` finds the pending rows and writes their results. ``checkpoint`` writes the guide's checkpoint
file. ``compress`` carries out what ``compress_plan`` decides.
"""
