# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The trainings of a study, each in a folder of its own; those whose scores are there are not repeated."""

from __future__ import annotations

import datetime
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
from tqdm import tqdm

from seq2seq_mri.evaluation.page import describe_machine
from seq2seq_mri.evaluation.records import read_records, write_records
from seq2seq_mri.files import atomic_path

__all__ = ["Facts", "StudyRun", "run_all", "write_json", "write_text"]

#: What a training's ``training.json`` holds.
Facts = Mapping[str, Any]


class StudyRun(ABC):
    """One training and its results: ``training.json`` with facts, and ``scores.csv``, which is written last.

    Attributes:
        folder: of the results.
        label: what a progress bar says while it runs.
        length: number of steps, or of epochs.
        text, numbers: columns of the scores.
        packages: whose versions stand in the description of the machine.
    """

    folder: Path
    label: str
    length: int

    text: ClassVar[Sequence[str]]
    numbers: ClassVar[Sequence[str]]
    packages: ClassVar[Sequence[str]] = ("torch", "monai")

    @abstractmethod
    def run(self, progress: Callable[[int], object]) -> None:
        """Train and measure, or what of it is left; calls ``progress`` with the steps or epochs that are done."""

    def is_done(self) -> bool:
        """Tell whether this training is scored."""
        return (self.folder / "scores.csv").is_file()

    def scores(self) -> pd.DataFrame:
        """Return the scores of a training that is done."""
        return read_records(self.folder / "scores.csv", self.text, self.numbers)

    def facts(self) -> Facts:
        """Return the facts of a training that is done, ``date`` and ``machine`` among them."""
        return json.loads((self.folder / "training.json").read_text(encoding="utf-8"))

    def write_scores(self, rows: pd.DataFrame) -> None:
        """Write the scores, which marks the training as done."""
        write_records(self.folder / "scores.csv", rows[[*self.text, *self.numbers]], overwrite=True)

    def write_facts(self, facts: Mapping[str, object], device: str) -> None:
        """Write facts, today's date and what was computed on."""
        date = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        machine = describe_machine(device, self.packages)
        write_json(self.folder / "training.json", {**facts, "date": date, "machine": machine})


def run_all(runs: Sequence[StudyRun], title: str, unit: str) -> None:
    """Run what is not done, in this order, with a progress bar over all."""
    with tqdm(total=sum(run.length for run in runs), desc=title, unit=unit) as bar:
        done = 0
        for run in runs:
            if not run.is_done():
                bar.set_postfix_str(run.label)
                run.run(lambda count, done=done: bar.update(done + count - bar.n))  # type: ignore[misc]
            done += run.length
            bar.update(done - bar.n)


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a JSON file, in place of one that is there; paths as texts."""
    write_text(path, json.dumps(content, indent=4, default=str))


def write_text(path: Path, text: str) -> None:
    """Write a text file, in place of one that is there."""
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
