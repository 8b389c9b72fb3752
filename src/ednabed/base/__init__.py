"""What every package may use: files, locks, JSON, texts, times, arrays, bases and the nearest vectors."""
