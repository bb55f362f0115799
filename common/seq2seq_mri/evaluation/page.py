# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A page of results in Markdown: above the numbers stands all that made them."""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seq2seq_mri.files import atomic_path

__all__ = ["command_line", "write_results_page"]


def command_line(command: Callable[..., Any], options: Mapping[str, Any]) -> str:
    """Return the command with the options that are not its defaults, as one would type it."""
    words = ["python", "-m", command.__module__.split(".")[0], command.__name__]
    given = []
    for name, parameter in inspect.signature(command).parameters.items():
        value = options[name]
        if parameter.default is inspect.Parameter.empty:
            given.append(shlex.quote(_written(value)))
        elif value != parameter.default:
            given.append(f"--{name} {shlex.quote(_written(value))}")
    return " \\\n    ".join([" ".join(words), *given])


def write_results_page(
    path: str | os.PathLike,
    title: str,
    command: str,
    data: str,
    facts: Sequence[Mapping[str, Any]],
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


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
