# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The page that all commands with results write."""

from __future__ import annotations

import shlex

from seq2seq_mri.evaluation.page import command_line, describe_machine, markdown_table, write_results_page


def example(datalist: str, output_dir: str, combinations: list | None = None, epochs: int = 1000, flag: bool = True):
    """Stand in for a command."""


def all_optional(datalist: str = "a.json", epochs: int = 1):
    """Stand in for a command without positional arguments."""


def test_the_command_line_has_what_is_not_default() -> None:
    example.__module__ = all_optional.__module__ = "seq2seq_mri.commands"
    options = {"datalist": "a b.json", "output_dir": "out", "combinations": ["t1+t2", "t1"], "epochs": 5, "flag": True}
    line = command_line(example, options)
    assert shlex.split(line.replace("\\\n", " ")) == [
        "python", "-m", "seq2seq_mri", "example", "a b.json", "out", "--combinations", "t1+t2,t1", "--epochs", "5",
    ]  # fmt: skip
    assert command_line(all_optional, {"datalist": "a.json", "epochs": 1}) == "python -m seq2seq_mri all_optional"


def test_a_page_says_how_it_was_made(tmp_path) -> None:
    facts = [
        {"date": "2026-01-03", "machine": "A"},
        {"date": "2026-01-02", "machine": "A"},
        {"date": "2026-01-02", "machine": "B"},
    ]
    path = tmp_path / "results" / "table.md"
    write_results_page(path, "Title", "python -m seq2seq_mri x", "two patients", facts, "9 steps", "0", "\nBody\n")
    write_results_page(path, "Title", "python -m seq2seq_mri x", "two patients", facts, "9 steps", "0", "\nBody\n")
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


def test_table() -> None:
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"
    assert markdown_table(["a"], []) == "| a |\n|---|"
