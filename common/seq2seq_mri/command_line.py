# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Functions as commands of a command line, in which a mistake ends in one line."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

import fire

__all__ = ["run_command_line"]


def run_command_line(commands: Mapping[str, Any], name: str) -> None:
    """Run the command that the command line names; a user's mistake ends in one line on standard error and exit code 1.

    Args:
        commands: functions, or mappings of further commands, by name. Their docstrings are the help.
        name: the program, as help shows it.
    """
    try:
        fire.Fire(_recorded(commands), name=name, serialize=_run)
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")


def _recorded(commands: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _later(item) if callable(item) else _recorded(item) for name, item in commands.items()}


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
