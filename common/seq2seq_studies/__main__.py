# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command line of the studies: ``python -m seq2seq_studies COMMAND --help``."""

from __future__ import annotations

from seq2seq_mri.command_line import run_command_line
from seq2seq_studies.comparison.compare_generators import compare_generators
from seq2seq_studies.segmentation.segment_subsets import segment_subsets

__all__ = ["main"]

COMMANDS = {
    "compare_generators": compare_generators,
    "segment_subsets": segment_subsets,
}


def main() -> None:
    """Run a command."""
    run_command_line(COMMANDS, name="seq2seq_studies")


if __name__ == "__main__":
    main()
