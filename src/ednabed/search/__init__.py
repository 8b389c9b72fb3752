"""Search for the vectors nearest to a query."""
