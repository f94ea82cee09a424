"""Entry point of ``python -m jfr_mp``, which is the same as `jfr-mp`."""

import sys

from jfr_mp.cli import main

if __name__ == "__main__":
    sys.exit(main())
