# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command line ``python -m seq2seq_mri COMMAND``; commands are ``datalist`` and ``contribution_table``."""

from __future__ import annotations

from seq2seq_mri.command_line import run_command_line
from seq2seq_mri.evaluation.contribution.contribution_page import ContributionTable
from seq2seq_mri.io.datalists.make_datalist import MakeDatalist

__all__ = ["main"]

COMMANDS = {
    "datalist": MakeDatalist,
    "contribution_table": ContributionTable,
}


def main() -> None:
    """Run a command."""
    run_command_line(COMMANDS, name="seq2seq_mri")


if __name__ == "__main__":
    main()
