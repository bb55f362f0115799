# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The page that all commands with results write."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from seq2seq_mri.evaluation.page import command_line, describe_machine, write_results_page


@dataclass
class Example:
    datalist: str
    output_dir: str
    combinations: Sequence[str] | None = None
    epochs: int = 1000
    flag: bool = True


def test_the_command_line_has_what_is_not_default(monkeypatch) -> None:
    monkeypatch.setattr(Example, "__module__", "seq2seq_mri.commands")
    line = command_line("example", Example("a b.json", "out", ["t1+t2", "t1"], epochs=5))
    assert shlex.split(line.replace("\\\n", " ")) == [
        "python", "-m", "seq2seq_mri", "example", "a b.json", "out", "--combinations", "t1+t2,t1", "--epochs", "5",
    ]  # fmt: skip


def test_a_page_says_how_it_was_made(tmp_path) -> None:
    runs = [("2026-01-03", "A"), ("2026-01-02", "A"), ("2026-01-02", "B")]
    facts = [{"date": date, "machine": machine} for date, machine in runs]
    path = tmp_path / "results" / "table.md"
    for budget in ("1 step", "9 steps"):
        write_results_page(path, "Title", "python -m seq2seq_mri x", "two patients", facts, budget, "0", "\nBody\n")
    text = path.read_text(encoding="utf-8")
    for line in (
        "# Title",
        "```bash\npython -m seq2seq_mri x\n```",
        "- **Data**: two patients",
        "- **Date**: 2026-01-02 to 2026-01-03 (UTC)",
        "- **Machine**: A; B",
        "- **Budget**: 9 steps",
        "- **Seeds**: 0",
        "[table.csv](table.csv)\n\nBody\n",
    ):
        assert line in text


def test_the_machine_is_described_with_the_packages_asked_for() -> None:
    assert "torch" in describe_machine("cpu")
    text = describe_machine("cpu", ("torch", "no-such-package"))
    assert text.endswith("no-such-package absent")
    assert "monai" not in text
