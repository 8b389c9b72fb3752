"""What a sequence is, and whether it is new."""
