# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Processes in which the package can come from one folder only."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import isolation
from tools.isolation import interpreter_of, isolated_environment, run_isolated


@pytest.fixture
def bundle(tmp_path) -> Path:
    """An unzipped bundle whose package is a stand-in."""
    package = tmp_path / "bundle" / "seq2seq_mri"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("place = 'the bundle'\n")
    return package.parent


def test_package_comes_from_the_bundle(bundle) -> None:
    # numpy is a package of the interpreter, to which it has access.
    program = "import os, numpy, seq2seq_mri; print(seq2seq_mri.place, os.listdir())"
    assert run_isolated(["-c", program], bundle, "The test") == "the bundle []\n"
    assert not list(bundle.rglob("__pycache__"))


def test_processes_that_it_starts_have_it_too(bundle) -> None:
    program = (
        "import subprocess, sys; "
        "print(subprocess.check_output([sys.executable, '-c', 'import seq2seq_mri as s; print(s.place)'], text=True))"
    )
    assert run_isolated(["-c", program], bundle, "The test").strip() == "the bundle"


def test_installed_package_is_out_of_sight(tmp_path) -> None:
    # Also where a test run has it on the search path.
    environment = isolated_environment(tmp_path / "empty", tmp_path / "isolation")
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(isolation.__file__).parents[2])!r})\n"
         "import seq2seq_mri"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"No module named 'seq2seq_mri' in {tmp_path / 'empty'}" in done.stderr


def test_package_must_have_been_used(bundle) -> None:
    with pytest.raises(ValueError, match="The test took seq2seq_mri from nowhere instead of"):
        run_isolated(["-c", "pass"], bundle, "The test")


def test_failure_is_told_with_its_last_lines(bundle) -> None:
    program = "print('\\n'.join(map(str, range(50))), flush=True); raise SystemExit('what was wrong')"
    with pytest.raises(ValueError, match=r"The test failed with the unzipped bundle \(exit code 1\)") as caught:
        run_isolated(["-c", program], bundle, "The test")
    assert str(caught.value).endswith("48\n49\nwhat was wrong")
    assert "\n10\n" not in str(caught.value)


def test_interpreters(tmp_path, monkeypatch) -> None:
    requirements = tmp_path / "requirements.txt"
    assert interpreter_of("this", requirements, tmp_path) == sys.executable
    link = tmp_path / "python"
    link.symlink_to(sys.executable)
    assert interpreter_of(str(link), requirements, tmp_path) == str(link)
    with pytest.raises(FileNotFoundError, match="environment is 'that'; give 'this', 'clean'"):
        interpreter_of("that", requirements, tmp_path)

    commands = []

    def record(command, **options):
        commands.append(command)
        return subprocess.CompletedProcess(command, int("pip" in command and failing), "", "no such package\n")

    monkeypatch.setattr(isolation.subprocess, "run", record)
    failing = False
    assert interpreter_of("clean", requirements, tmp_path / "new") == str(tmp_path / "new" / "bin" / "python")
    assert commands[0] == [sys.executable, "-m", "venv", str(tmp_path / "new")]
    assert commands[1][-2:] == ["--requirement", str(requirements)]
    failing = True
    with pytest.raises(ValueError, match=r"No environment could be made from PyPI (.|\n)*no such package"):
        interpreter_of("clean", requirements, tmp_path / "new")
