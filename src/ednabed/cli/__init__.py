"""The command line: one file a verb. It parses, calls the library, prints and exits; it holds no science."""
