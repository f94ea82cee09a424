"""``python -m jfr_mp`` is `jfr-mp`."""

import sys

from jfr_mp.cli import main

if __name__ == "__main__":
    sys.exit(main())
