"""`python -m anomalae` is the command line."""

from anomalae.cli import main

if __name__ == "__main__":
    main()
