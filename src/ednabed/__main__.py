"""``python -m ednabed``: the command line, where no script of that name is on the path."""

from ednabed.cli.main import main

if __name__ == "__main__":
    main()
