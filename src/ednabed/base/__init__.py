"""What every package may use: nothing here knows of sequences, vectors or files of ednabed."""
