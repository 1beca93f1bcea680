"""`python -m druse` is `druse`."""

from druse.cli import main

if __name__ == "__main__":
    main()
