# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command line of maintainers: ``python -m tools COMMAND --help``, from the root of a checkout."""

from __future__ import annotations

from seq2seq_mri.command_line import run_command_line
from tools.convert_released import convert_released
from tools.hugging_face import push_to_hf_hub
from tools.release import release

__all__ = ["main"]

COMMANDS = {"convert_released": convert_released, "push_to_hf_hub": push_to_hf_hub, "release": release}


def main() -> None:
    """Run a command."""
    run_command_line(COMMANDS, name="tools")


if __name__ == "__main__":
    main()
