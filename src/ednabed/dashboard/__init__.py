"""The page for people who do not use a terminal. Long work is a command line in another process (``jobs``)."""
