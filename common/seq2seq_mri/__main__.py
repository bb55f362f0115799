# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command line: ``python -m seq2seq_mri COMMAND --help``."""

from __future__ import annotations

import sys

import fire

from seq2seq_mri.data.make_datalist import make_datalist
from seq2seq_mri.data.simulation.brain import simulate_brain
from seq2seq_mri.release.convert_released import convert_released

__all__ = ["main"]

COMMANDS = {
    "datalist": make_datalist,
    "simulate": {"brain": simulate_brain},
    "convert_released": convert_released,
}


def main() -> None:
    """Run a command; a user's mistake ends in one line on standard error and exit code 1."""
    try:
        fire.Fire(COMMANDS, name="seq2seq_mri")
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
