# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command line: ``python -m seq2seq_mri COMMAND --help``."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import fire

from seq2seq_mri.comparison.compare_generators import compare_generators
from seq2seq_mri.contribution.contribution_table import contribution_table
from seq2seq_mri.data.make_datalist import make_datalist
from seq2seq_mri.data.simulation.brain import simulate_brain
from seq2seq_mri.data.simulation.breast import simulate_breast
from seq2seq_mri.release.convert_released import convert_released
from seq2seq_mri.release.hugging_face import push_to_hf_hub
from seq2seq_mri.release.release import release
from seq2seq_mri.segmentation.segment_subsets import segment_subsets

__all__ = ["main"]


def main() -> None:
    """Run a command; a user's mistake ends in one line on standard error and exit code 1."""
    try:
        fire.Fire(COMMANDS, name="seq2seq_mri", serialize=_run)
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")


class _Call:
    """A command with its arguments, not yet run."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call


def _later(function: Callable) -> Callable:
    """Let fire check the whole command line before ``function`` runs.

    Fire calls a function as soon as it has its arguments, and only then refuses an option that it does not know: a
    misspelt option would run the command without it.
    """

    @functools.wraps(function)
    def record(*args: Any, **kwargs: Any) -> _Call:
        return _Call(functools.partial(function, *args, **kwargs))

    return record


def _run(result: Any) -> Any:
    return result._call() if isinstance(result, _Call) else result


COMMANDS = {
    "datalist": _later(make_datalist),
    "simulate": {"brain": _later(simulate_brain), "breast": _later(simulate_breast)},
    "convert_released": _later(convert_released),
    "release": _later(release),
    "push_to_hf_hub": _later(push_to_hf_hub),
    "segment_subsets": _later(segment_subsets),
    "compare_generators": _later(compare_generators),
    "contribution_table": _later(contribution_table),
}


if __name__ == "__main__":
    main()
