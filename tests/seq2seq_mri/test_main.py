# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command line."""

from __future__ import annotations

import inspect
import json
import runpy
import sys

import pytest

import mri_phantom.__main__
import seq2seq_studies.__main__
import tools.__main__
from seq2seq_mri.__main__ import COMMANDS as CORE
from seq2seq_mri.command_line import run_command_line

PROGRAMS = {
    "seq2seq_mri": CORE,
    "seq2seq_studies": seq2seq_studies.__main__.COMMANDS,
    "mri_phantom": mri_phantom.__main__.COMMANDS,
    "tools": tools.__main__.COMMANDS,
}


@pytest.fixture
def run(typed, monkeypatch, tmp_path):
    """Runs a command in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    return lambda program, *words: typed(lambda: run_command_line(PROGRAMS[program], program), program, *words)


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_lists_the_commands(run, program, arguments) -> None:
    code, output, errors = run(program, *arguments)
    assert code == 0
    assert all(command in output + errors for command in PROGRAMS[program])


@pytest.mark.parametrize(
    ("program", "command"), [(program, command) for program, commands in PROGRAMS.items() for command in commands]
)
def test_help_names_and_explains_every_argument(run, program, command) -> None:
    code, output, errors = run(program, command, "--help")
    assert code == 0
    text, function = " ".join((output + errors).split()), PROGRAMS[program][command]
    documentation = inspect.getdoc(function)
    for name, parameter in inspect.signature(function).parameters.items():
        assert (name.upper() if parameter.default is inspect.Parameter.empty else f"--{name}=") in text
    # The explanation of the last argument, so all of them were understood.
    for start in (documentation, documentation.split(f"\n    {name}: ")[1]):
        assert " ".join(start.splitlines()[0].split()) in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["seq2seq_mri", "datalist", "nowhere", "datalist.json"], "nowhere does not exist"),
        (["seq2seq_mri", "datalist", ".", "datalist.json"], "No image of a known sequence was found"),
        (["seq2seq_mri", "datalist", ".", "datalist.json", "--layout", "mine"], "mine"),
        (["mri_phantom", "brain", "a_file/cohort"], "a_file/cohort cannot be written"),
        (["mri_phantom", "breast", "cohort", "--b_values", "800"], "b_values is 800; give a list"),
        (["tools", "convert_released", "a.pt", "a.yaml", "b.pt"], "does not exist"),
        (["tools", "release"], "There are no bundles in bundles; give the checkout of the project by --repository"),
        (["seq2seq_studies", "segment_subsets", "no.json", "out", "--export_only"], "no.json does not exist"),
        (["seq2seq_mri", "contribution_table", "nowhere,nowhere", "out"], "Two evaluations are named nowhere"),
        (["seq2seq_mri", "contribution_table", "nowhere", "out", "--samples", "many"], "samples is 'many'; give a"),
    ],
)
def test_a_mistake_gives_one_line(run, tmp_path, arguments, message) -> None:
    (tmp_path / "a_file").write_text("")
    code, output, errors = run(*arguments)
    assert code == 1
    assert not output
    assert errors.startswith("Error: ")
    assert message in errors.splitlines()[0]
    assert errors.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a_file"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["mri_phantom", "brain", "cohort", "--subjects", "1", "--shape", "32,32,32", "--sed", "3"],
        ["mri_phantom", "heart", "cohort"],
        ["seq2seq_mri", "datalist", "."],
        ["tools", "nonsense"],
    ],
)
def test_a_misspelt_command_line_does_nothing(run, tmp_path, arguments) -> None:
    code, output, errors = run(*arguments)
    assert code == 2
    assert not output
    assert "ERROR: " in errors
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())


def test_simulates_a_cohort_and_lists_it(run, tmp_path) -> None:
    simulate = ["mri_phantom", "breast", "cohort", "--splits", "1,0,1", "--shape", "32,32,32", "--spacing", "5"]
    simulate += ["--timepoints", "3", "--b_values", "0,1000"]
    assert run(*simulate)[:2] == (0, "cohort/datalist.json\n")
    content = json.loads((tmp_path / "cohort" / "datalist.json").read_text())
    assert [len(content[section]) for section in ("training", "validation", "testing")] == [1, 0, 1]
    timepoints = {"t1": 1, "dce": 3, "dwi": 2}
    assert {name: content["sequences"][name] for name in timepoints} == timepoints

    code, _, errors = run(*simulate)
    assert code == 1
    assert "exists" in errors

    subject = content["training"][0]["subject"]
    scan = ["datalist", "cohort", "scanned.json", "--testing", subject, "--sequences", "{t1:1,dce:3,dwi:2}"]
    code, output, _ = run("seq2seq_mri", *scan)
    assert code == 0
    assert "2 of 2 subjects" in output
    scanned = json.loads((tmp_path / "scanned.json").read_text())
    assert (scanned["sequences"], [entry["subject"] for entry in scanned["testing"]]) == (timepoints, [subject])


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
def test_runs_as_a_module(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["seq2seq_mri", "datalist", "nowhere", "datalist.json"])
    with pytest.raises(SystemExit, match="Error: The dataset's folder nowhere does not exist or is not a folder"):
        runpy.run_module("seq2seq_mri", run_name="__main__")
