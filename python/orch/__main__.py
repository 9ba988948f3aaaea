"""`python -m orch`."""

import sys

from orch.cli import main

__all__ = ()

if __name__ == "__main__":
    sys.exit(main())
