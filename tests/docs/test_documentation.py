# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the documentation prints to be typed exists, and the Python of the README runs."""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
import shlex
import shutil
import typing
from pathlib import Path

import nibabel
import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

import seq2seq_mri
from mri_phantom.brain import SimulateBrain
from seq2seq_mri.options import default_schema, option_value, schema_of

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted(REPOSITORY.glob("docs/*.md")),
    *sorted(REPOSITORY.glob("bundles/*/docs/README.md")),
    *sorted(REPOSITORY.glob("apps/*/README.md")),
    REPOSITORY / "benchmarks" / "README.md",
]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(module: str) -> list:
    """Return what follows ``python -m MODULE`` wherever a page prints it to be typed."""
    found = []
    for page in PAGES:
        for line in "".join(blocks(page, "bash")).replace("\\\n", " ").splitlines():
            words = shlex.split(re.sub(r"(^|\s)#.*", "", line)) if f"-m {module} " in line else []
            if module in words:
                name = page.relative_to(REPOSITORY).as_posix()
                found.append(pytest.param(words[words.index(module) + 1 :], id=f"{name}: {' '.join(words[-3:])}"))
    return found


@pytest.mark.parametrize("words", commands("monai.bundle"))
def test_bundles_know_what_they_are_asked_for(words) -> None:
    if words[0] != "run":
        assert words[0] == "download"
        return
    options = dict(zip(words[2::2], words[3::2], strict=True))
    files = re.findall(r"[^\[\]',]+\.json", options.pop("--config_file"))
    assert files
    parser = ConfigParser()
    parser.read_config([REPOSITORY / file for file in files])
    assert words[1] in parser.config
    for name, typed in options.items():
        assert name.startswith("--")
        option_value(name[2:], DefaultParseValue(typed), default_schema(name[2:], parser[name[2:]]))


@pytest.mark.parametrize(
    ("package", "words"),
    [
        pytest.param(package, *command.values, id=command.id)
        for package in ("seq2seq_mri", "seq2seq_studies", "mri_phantom", "tools")
        for command in commands(package)
    ],
)
def test_commands_and_their_options_exist(package, words) -> None:
    function = importlib.import_module(f"{package}.__main__").COMMANDS[words[0]]
    given = list(itertools.takewhile(lambda word: not word.startswith("--"), words[1:]))
    options: dict[str, object] = {}
    for word, following in itertools.pairwise([*words[1:], "--"]):
        if word.startswith("--"):
            options[word[2:]] = True if following.startswith("--") else DefaultParseValue(following)
    hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    for name, typed in inspect.signature(function).bind(*given, **options).arguments.items():
        option_value(name, typed, schema_of(hints.get(name)))


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch) -> None:
    (program,) = blocks(REPOSITORY / "README.md", "python")
    SimulateBrain(tmp_path / "data", splits=(0, 0, 2), shape=(32, 32, 32), spacing=6.0, missing=0)()
    for path in (tmp_path / "data").glob("*/*.nii.gz"):
        nibabel.save(nibabel.load(path).slicer[:, :, 15:16], path)  # a slice takes a second
    (tmp_path / "bundles").symlink_to(REPOSITORY / "bundles")
    first = sorted((tmp_path / "data").glob("*/"))[0]
    for name, ending in (("t1", "-t1n"), ("flair", "-t2f")):
        shutil.copyfile(first / f"{first.name}{ending}.nii.gz", tmp_path / f"{name}.nii.gz")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(program, "README.md", "exec"), names)
    source = nibabel.load("t1.nii.gz")
    for path in ("t2.nii.gz", "t2_sd.nii.gz"):
        assert nibabel.load(path).shape == source.shape
        assert (nibabel.load(path).affine == source.affine).all()
    assert names["maps"]["flair"].shape == source.shape
    assert list(names["ranking"].table["sequence"]) == ["t1", "t1gd", "t2", "flair"]
    assert Path("ranking.png").stat().st_size > 1000


def test_the_package_shows_the_same_python() -> None:
    (program,) = blocks(REPOSITORY / "README.md", "python")
    shown = inspect.cleandoc(seq2seq_mri.__doc__).split("::\n\n")[1]
    lines = itertools.takewhile(lambda line: line.startswith("    ") or not line, shown.splitlines())
    assert [line.strip() for line in lines if line] == [line.strip() for line in program.splitlines() if line]
