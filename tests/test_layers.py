# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Imports of the packages point one way, as CONTRIBUTING.md says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

COMMON = Path(__file__).resolve().parents[1] / "common"
PACKAGES = ("seq2seq_mri", "seq2seq_studies", "mri_phantom")

#: What a package or folder may import of ours, besides itself.
ALLOWED = {
    "mri_phantom": {"seq2seq_mri.files", "seq2seq_mri.sequences", "seq2seq_mri.command_line"},
    "seq2seq_mri": set(),
    "seq2seq_mri.networks": {"seq2seq_mri.sequences"},
    "seq2seq_mri.losses": {"seq2seq_mri.networks"},
    "seq2seq_mri.io": {f"seq2seq_mri.{name}" for name in ("files", "sequences", "run_manifest", "origin")},
    "seq2seq_mri.transforms": {f"seq2seq_mri.{name}" for name in ("io", "sequences")},
    "seq2seq_mri.plots": {f"seq2seq_mri.{name}" for name in ("files", "sequences")},
    "seq2seq_studies": {"seq2seq_mri", "mri_phantom"},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("folder", ALLOWED)
def test_arrows_point_one_way(folder) -> None:
    wrong = [
        f"{path.relative_to(COMMON)} imports {name}"
        for path in sorted(COMMON.joinpath(*folder.split(".")).rglob("*.py"))
        for name in imports(path)
        if any(is_in(name, package) for package in PACKAGES)
        and not any(is_in(name, allowed) for allowed in {folder, *ALLOWED[folder]})
    ]
    assert not wrong


def test_no_file_name_exists_twice() -> None:
    names = [path.name for path in COMMON.rglob("*.py") if not path.name.startswith("__")]
    assert sorted(names) == sorted(set(names))
