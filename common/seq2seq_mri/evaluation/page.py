# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Pages of results in Markdown: tables, the command that made them, and the machine that it ran on."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from seq2seq_mri.files import atomic_path

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["command_line", "describe_machine", "markdown_table", "write_results_page"]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def describe_machine(device: str, packages: Sequence[str] = ("torch", "monai")) -> str:
    """Return processor or GPU, its number of cores, and the versions of Python and of ``packages``."""
    parts = [_processor()] if device == "cpu" else [torch.cuda.get_device_name()]
    if device == "cpu":
        parts.append(f"{os.cpu_count()} cores")
    parts.append(f"Python {platform.python_version()}")
    for package in packages:
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            parts.append(f"{package} absent")
    return ", ".join(parts)


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def command_line(name: str, settings: DataclassInstance) -> str:
    """Return the command ``name`` of the settings' package, with what is not their default, as one would type it."""
    words = ["python", "-m", type(settings).__module__.split(".")[0], name]
    given = []
    for option in fields(settings):
        value = getattr(settings, option.name)
        if option.default is MISSING:
            given.append(shlex.quote(_written(value)))
        elif value != option.default:
            given.append(f"--{option.name} {shlex.quote(_written(value))}")
    return " \\\n    ".join([" ".join(words), *given])


def write_results_page(
    path: str | os.PathLike,
    title: str,
    command: str,
    data: str,
    facts: Sequence[Mapping[str, str]],
    budget: str,
    seeds: str,
    body: str,
) -> None:
    """Write a page; the scores are in the CSV file of the same name beside it.

    Args:
        path: the Markdown file; replaced when it exists.
        title: of the page.
        command: what makes the page.
        data: what was trained and tested on.
        facts: ``date`` and ``machine`` of everything that was computed.
        budget: how long was trained.
        seeds: of the trainings.
        body: tables, figures and what is said about them.
    """
    path = Path(path)
    dates = sorted({fact["date"] for fact in facts})
    scores = path.with_suffix(".csv").name
    text = f"""# {title}

Made by the command below; not edited by hand.

```bash
{command}
```

- **Data**: {data}
- **Date**: {dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"} (UTC)
- **Machine**: {"; ".join(dict.fromkeys(fact["machine"] for fact in facts))}
- **Budget**: {budget}
- **Seeds**: {seeds}
- **Scores** of every subject: [{scores}]({scores})

{body.strip()}
"""
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _written(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
