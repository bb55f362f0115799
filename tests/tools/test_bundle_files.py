# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What a release holds."""

from __future__ import annotations

import re
import shutil

import pytest

from tools.bundle_files import collect_files, list_bundles, neighbours

NAMES = ["differentiation_classifier", "seq2seq_brats", "seq2seq_breast"]


def test_bundles_of_a_repository(small_repository, tmp_path) -> None:
    assert [bundle.name for bundle in list_bundles(small_repository)] == NAMES
    assert [bundle.name for bundle in list_bundles(small_repository, ("seq2seq_brats",) * 2)] == ["seq2seq_brats"]
    with pytest.raises(FileNotFoundError, match=r"no bundle heart in .*; there are differentiation_classifier"):
        list_bundles(small_repository, ("heart",))
    with pytest.raises(FileNotFoundError, match="There are no bundles in"):
        list_bundles(tmp_path)


def test_package_requirements_and_pictures_come_with_a_bundle(small_repository) -> None:
    bundles = small_repository / "bundles"
    assert neighbours(bundles / "seq2seq_brats") == []
    assert "seq2seq_brats" in neighbours(bundles / "differentiation_classifier")
    files = collect_files(bundles / "seq2seq_brats", small_repository)
    assert {"LICENSE", "configs/inference.json", "configs/metadata.json", "models/model.pt"} <= set(files)
    core = small_repository / "common" / "seq2seq_mri"
    assert {f"seq2seq_mri/{path.relative_to(core)}" for path in core.rglob("*.py")} <= set(files)
    assert "torch>=2.5" in files["requirements.txt"].decode().splitlines()
    assert files["docs/images/picture.png"].read_bytes() == b"a picture"
    assert b"](../docs/images/picture.png)" in files["docs/README.md"]
    assert {"mri_phantom/__init__.py", "mri_phantom/__main__.py", "mri_phantom/brain.py"} <= set(files)


def test_modules_that_the_configurations_name_come_with_what_they_import(bundle, changed_repository) -> None:
    common = changed_repository / "common"
    shutil.rmtree(common / "seq2seq_studies")
    for name, text in {
        "seq2seq_mri/core.py": "",
        "seq2seq_studies/__init__.py": "",
        "seq2seq_studies/paper/__init__.py": "",
        "seq2seq_studies/paper/experiment.py": "def run():\n    from seq2seq_studies import tables\n",
        "seq2seq_studies/tables.py": "import seq2seq_studies.numbers\nfrom seq2seq_mri.core import x\n",
        "seq2seq_studies/numbers.py": "from pathlib import Path\n",
        "seq2seq_studies/figures.py": "from seq2seq_studies.tables import x\n",
        "seq2seq_studies/paper/figures.py": "from seq2seq_studies.tables import x\n",
    }.items():
        (common / name).parent.mkdir(parents=True, exist_ok=True)
        (common / name).write_text(text)
    for path in common.glob("seq2seq_mri/**/*.py"):
        path.write_text("")
    (common / "seq2seq_mri" / "__pycache__").mkdir()
    (common / "seq2seq_mri" / "__pycache__" / "a.pyc").touch()

    def studies() -> set[str]:
        return {name for name in collect_files(bundle, changed_repository) if name.startswith("seq2seq_studies/")}

    assert studies() == set()
    (bundle / "configs" / "study.json").write_text('{"a": {"_target_": "seq2seq_studies.paper.experiment.run"}}')
    modules = ("__init__", "paper/__init__", "paper/experiment", "tables", "numbers")
    assert studies() == {f"seq2seq_studies/{name}.py" for name in modules}


def test_bundles_of_this_repository_can_be_released(repository) -> None:
    for bundle in list_bundles(repository):
        collect_files(bundle, repository)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bundles/seq2seq_brats/notes.txt", "not a file that a bundle publishes"),
        ("bundles/seq2seq_brats/configs/secret.env", "not a file that a bundle publishes"),
        ("bundles/seq2seq_brats/models/docs/README.md", "not a file that a bundle publishes"),
        ("bundles/seq2seq_brats/docs/link.txt", "a link"),
        ("common/seq2seq_mri/patient.csv", "not a Python file"),
    ],
)
def test_other_files_are_refused(bundle, changed_repository, name, message) -> None:
    path = changed_repository / name
    path.parent.mkdir(exist_ok=True)
    if path.stem == "link":
        path.symlink_to("/etc/hostname")
    else:
        path.write_text("private")
    with pytest.raises(ValueError, match=rf"{re.escape(name)} is {message}"):
        collect_files(bundle, changed_repository)


@pytest.mark.parametrize(
    ("name", "message"),
    [("LICENSE", "every bundle has one"), ("docs/README.md", "every"), ("models/model.pt", ".* Train the bundle")],
)
def test_absent_files_are_named(bundle, changed_repository, name, message) -> None:
    (bundle / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{name} does not exist[;:] {message}"):
        collect_files(bundle, changed_repository)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[a](missing.md)", r"links to missing\.md, which does not exist"),
        ("[a](../../../setup.cfg)", r"links to \.\./\.\./\.\./setup\.cfg, which is not in a release"),
    ],
)
def test_links_of_the_documentation(bundle, changed_repository, text, message) -> None:
    good = "[a](https://example.org) [b](#part) [c](data_license.txt) [d](../../seq2seq_breast/docs/README.md#part)\n"
    (bundle / "docs" / "README.md").write_text(good)
    assert collect_files(bundle, changed_repository)["docs/README.md"] == good.encode()
    (bundle / "docs" / "README.md").write_text(good + text)
    with pytest.raises(ValueError, match=message):
        collect_files(bundle, changed_repository)
