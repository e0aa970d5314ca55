"""Entry point of `python -m convert_weights`."""

import sys

from .cli import main

sys.exit(main())
