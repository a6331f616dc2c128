"""``python -m probekit`` is the command ``probekit``."""

import sys

from probekit.cli import main

if __name__ == "__main__":
    sys.exit(main())
