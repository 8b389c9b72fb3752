"""``python -m ednabed`` runs the command line even if no ``ednabed`` script is on the PATH."""

from ednabed.cli.main import main

if __name__ == "__main__":
    main()
