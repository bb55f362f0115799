# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Tables in Markdown."""

from __future__ import annotations

from seq2seq_mri.evaluation.markdown import markdown_table


def test_table() -> None:
    assert markdown_table(["a", "b"], [["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"
    assert markdown_table(["a"], []) == "| a |\n|---|"
