# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Runs functions and dataclasses of settings as commands of a command line; a user's mistake prints one line."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from typing import Any, get_type_hints

import fire

from seq2seq_mri.options import option_value, schema_of

__all__ = ["run_command_line"]


def run_command_line(commands: Mapping[str, Any], name: str) -> None:
    """Run the command that the command line names; a user's mistake ends in one line on standard error and exit code 1.

    Args:
        commands: by name, functions, or dataclasses whose fields are the options and whose objects are called. Their
            docstrings are the help.
        name: the program, as help shows it.
    """
    try:
        fire.Fire({command: _later(item) for command, item in commands.items()}, name=name, serialize=_run)
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")


class _Call:
    """A command with its arguments, not yet run."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call


def _later(command: Callable) -> Callable:
    """Let fire check the whole command line before ``command`` runs.

    Fire calls a function as soon as it has its arguments, and only then refuses an option that it does not know: a
    misspelt option would run the command without it.
    """

    # A class's own attributes are no commands.
    @functools.wraps(command, updated=())
    def record(*args: object, **kwargs: object) -> _Call:
        given = inspect.signature(command).bind(*args, **kwargs)
        hints = get_type_hints(command.__init__ if inspect.isclass(command) else command)
        for name, value in given.arguments.items():
            given.arguments[name] = option_value(name, value, schema_of(hints.get(name)))
        return _Call(functools.partial(command, *given.args, **given.kwargs))

    return record


def _run(result: object) -> object:
    if not isinstance(result, _Call):
        return result
    outcome = result._call()
    return outcome() if is_dataclass(outcome) and callable(outcome) else outcome
