"""Maps: coordinates of sequences in two dimensions, for display."""
