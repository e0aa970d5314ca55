"""Entry points of the scripts: restart with huge pages before jax is imported, then run the command."""

import sys

from msst_jax.runtime.hugepages import use_hugepages


def stylize() -> None:
    """stylize.py and msst-stylize."""
    use_hugepages()
    from msst_jax.cli.stylize import main

    sys.exit(main(sys.argv))


def train() -> None:
    """train.py and msst-train."""
    use_hugepages()
    from msst_jax.cli.train import main

    sys.exit(main(sys.argv))
