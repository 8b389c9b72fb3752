"""Many runs as one: distinct sequences with one vector each, every occurrence, and an index over them.

``sources`` finds the runs and refuses those that cannot be taken; ``build`` writes a build; ``parts`` are the Parquet
files of one run in it; ``index`` chooses, trains and measures the FAISS index; ``topk`` is exact search, the judge of
every index; ``layout`` keeps builds apart and their names; ``manifest`` says what a build is; ``opened`` opens one.
"""
