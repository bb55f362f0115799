# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""From a benchmark's numbers to its files (JSON, PNG) and its printed table; and its command line."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import fire
import pandas as pd
import torch
from matplotlib.figure import Figure

from machine import describe_machine, machine_name
from seq2seq_mri.files import atomic_path, check_writable_directory
from seq2seq_mri.plots.style import save_figure

__all__ = ["RESULTS", "ResultFiles", "command_line"]

RESULTS = Path(__file__).resolve().parent / "results"


class ResultFiles:
    """Where a benchmark's results go: ``<output_dir>/<machine>-<what>.json`` and ``.png``.

    Args:
        output_dir: the folder; made when absent, checked before anything is measured.
        machine: first part of the names; by default made of the GPU's or the processor's.
        what: second part of the names.
        device: where is computed.

    Raises:
        ValueError: when the folder cannot be written, or the machine's name is not one for files.
    """

    def __init__(self, output_dir: str | os.PathLike | None, machine: str | None, what: str, device: torch.device):
        name = machine_name(device) if machine is None else str(machine)
        if not re.fullmatch(r"[\w.-]+", name):
            raise ValueError(f"machine is {machine!r}; give a name of letters, digits, dots and hyphens.")
        self.folder = check_writable_directory(RESULTS if output_dir is None else output_dir)
        self.what = what
        self.stem = f"{name}-{what}"
        self.device = device

    def write(
        self, settings: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], figure: Figure, **further: Any
    ) -> Path:
        """Write the files, replacing those of the same names, and print ``rows`` as a table.

        Args:
            settings: the benchmark's options.
            rows: the table's rows; the columns are the keys.
            figure: the plot.
            **further: what else belongs into the JSON file.

        Returns:
            path of the JSON file.
        """
        path = self.folder / f"{self.stem}.json"
        content = {
            "benchmark": self.what,
            "machine": describe_machine(self.device),
            # Where the files are is nobody else's business.
            "settings": {key: value for key, value in settings.items() if key not in ("output_dir", "machine")},
            **further,
            "rows": list(rows),
        }
        text = json.dumps(content, indent=2, allow_nan=False)
        with atomic_path(path, overwrite=True) as temporary:
            temporary.write_text(f"{text}\n", encoding="utf-8")
        save_figure(figure, path.with_suffix(".png"), overwrite=True)
        table = pd.DataFrame(rows).dropna(axis=1, how="all")
        print(table.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="-"))
        print(f"\nWrote {path} and {path.with_suffix('.png').name}.")
        return path


def command_line(benchmark: Callable[..., Any]) -> None:
    """Run a benchmark with the options of the command line; a mistake ends in one line and exit code 1.

    Fire calls a function before it refuses an option that it does not know, so what it is given only records the call.
    """

    @functools.wraps(benchmark)
    def record(*arguments: Any, **options: Any) -> _Call:
        return _Call(functools.partial(benchmark, *arguments, **options))

    try:
        fire.Fire(record, serialize=lambda call: call.run() if isinstance(call, _Call) else call)
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")


class _Call:
    """A benchmark with its options, not yet run."""

    def __init__(self, benchmark: Callable[[], Any]) -> None:
        self._benchmark = benchmark

    def run(self) -> None:
        self._benchmark()
