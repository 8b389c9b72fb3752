"""The command line: one file per command. It parses, calls the library, prints and exits; it contains no science."""
