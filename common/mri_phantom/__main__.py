# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command line of the simulation: ``python -m mri_phantom COMMAND --help``."""

from __future__ import annotations

from mri_phantom.brain import SimulateBrain
from mri_phantom.breast import SimulateBreast
from seq2seq_mri.command_line import run_command_line

__all__ = ["main"]

COMMANDS = {"brain": SimulateBrain, "breast": SimulateBreast}


def main() -> None:
    """Run a command."""
    run_command_line(COMMANDS, name="mri_phantom")


if __name__ == "__main__":
    main()
