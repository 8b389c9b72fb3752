"""Search: the vectors nearest to a query."""
