"""References: many runs combined into distinct sequences with one vector each, all occurrences, and an index.

``sources`` finds the runs and refuses those that cannot be used; ``build`` writes a build; ``parts`` holds the Parquet
files of one run in it; ``index`` chooses and trains the FAISS index and measures it by ``base.recall``; ``layout``
manages builds and their names; ``manifest`` describes a build; ``opened`` opens one.
"""
