"""`python -m paperzoo` is the `paperzoo` command."""

from paperzoo.cli import main

if __name__ == '__main__':
    main()
