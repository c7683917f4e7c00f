"""`python -m bridge`: the same program as `scoped-bridge`.

Rules: nothing but the call. Apart from bridge/cli because Python looks for it here.
"""

import sys

from bridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
