"""What every package may use: files, locks, JSON, texts, times, arrays, bases, the nearest vectors and recall."""
