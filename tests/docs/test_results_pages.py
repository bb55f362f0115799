# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Every page of results says how its tables are made: command, data, date, machine, budget and seeds."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from seq2seq_mri.__main__ import COMMANDS as CORE
from seq2seq_studies.__main__ import COMMANDS as STUDIES

REPOSITORY = Path(__file__).resolve().parents[2]
COMMANDS = CORE | STUDIES
PAGES = sorted((REPOSITORY / "docs" / "results").glob("*.md"))


@pytest.fixture(params=PAGES, ids=[page.stem for page in PAGES])
def page(request) -> Path:
    return request.param


def command(text: str) -> list[str]:
    """Return the words of the command of a page, without ``python -m seq2seq_mri``."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert blocks, "a page needs the command that makes it, in a bash block"
    words = shlex.split(blocks[0].replace("\\\n", " "))
    assert words[:2] == ["python", "-m"]
    assert words[2] in ("seq2seq_mri", "seq2seq_studies")
    return words[3:]


def test_there_are_pages() -> None:
    assert PAGES


def test_the_facts_stand_above_the_tables(page) -> None:
    text = page.read_text(encoding="utf-8")
    head = text[: text.index("\n|")]
    for what in ("Data", "Date", "Machine", "Budget", "Seeds"):
        assert re.search(rf"^- \*\*{what}\*\*: \S", head, re.MULTILINE), what
    dates = re.search(r"^- \*\*Date\*\*: (\d{4}-\d\d-\d\d)( to \d{4}-\d\d-\d\d)? \(UTC\)$", head, re.MULTILINE)
    assert dates
    pd.Timestamp(dates[1])
    assert re.search(r"^- \*\*Seeds\*\*: \d", head, re.MULTILINE)


def test_the_command_exists_and_has_these_options(page) -> None:
    name, *words = command(page.read_text(encoding="utf-8"))
    found = COMMANDS[name]
    if isinstance(found, dict):
        found = found[words.pop(0)]
    parameters = inspect.signature(found).parameters
    options = {word[2:].split("=")[0] for word in words if word.startswith("--")}
    assert options <= set(parameters)
    positional = list(parameters)[: next((i for i, word in enumerate(words) if word.startswith("--")), len(words))]
    needed = {name for name, parameter in parameters.items() if parameter.default is inspect.Parameter.empty}
    assert needed <= options | set(positional)
    # The command writes this page.
    assert f"docs/results/{page.name}" in words


def test_what_a_page_links_to_is_there(page) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert links
    for link in links:
        if not link.startswith("http"):
            assert (page.parent / link).is_file(), link
    scores = [link for link in links if link.endswith(".csv")]
    assert scores
    assert all(len(pd.read_csv(page.parent / link)) for link in scores)


def test_no_path_of_a_machine(page) -> None:
    assert not re.search(r"(?<![\w.])/(home|root|work|tmp|mnt)/", page.read_text(encoding="utf-8"))
