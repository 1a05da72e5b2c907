"""``python -m claran_plugin`` is ``claran``."""

import sys

from claran_plugin.cli import main

if __name__ == '__main__':
    sys.exit(main())
