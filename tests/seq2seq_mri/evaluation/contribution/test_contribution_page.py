# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command contribution_table, on folders as evaluations leave them, and the page in docs that it wrote."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from seq2seq_mri.evaluation.contribution.contribution_bootstrap import bootstrap_contribution
from seq2seq_mri.evaluation.contribution.contribution_page import ContributionTable
from seq2seq_mri.evaluation.contribution.contribution_table import cohort_contribution, format_contribution
from seq2seq_mri.evaluation.image_quality.quality_table import METRIC_COLUMNS
from seq2seq_mri.evaluation.records import read_records
from seq2seq_mri.sequences import SEQUENCE_TABLES


def test_writes_table_frequencies_and_figure_of_all_cohorts(evaluation, tmp_path) -> None:
    lacks = {"001": ["dce"], "002": ["dce"], "003": ["dce", "dwi"], "004": ["t1"]}
    brain, breast = evaluation("brain/evaluation"), evaluation("breast", 5, sequences=("t1", "dce", "dwi"), lacks=lacks)
    out = tmp_path / "out"
    text = ContributionTable(f"{brain},{breast}", out, samples=50)()
    assert {path.name for path in out.iterdir()} == {
        *(f"contribution_table.{ending}" for ending in ("csv", "md", "png")),
        "rank_frequencies.csv",
    }
    assert (out / "contribution_table.md").read_text() == text + "\n"
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## brain", "## breast"]

    table = pd.read_csv(out / "contribution_table.csv")
    assert list(table["sequence"]) == ["t1", "t1gd", "t2", "flair", "t1", "dce", "dwi"]
    assert list(table["subjects"]) == [6, 6, 6, 6, 3, 2, 4]  # 003 has no pair
    expected = pd.concat([pd.read_csv(folder / "contribution.csv") for folder in (brain, breast)])
    for ours, theirs in (("c_t", "c_t"), ("c_t_rank", "rank_t"), ("c_d", "c_d"), ("c_d_rank", "rank_d")):
        np.testing.assert_allclose(table[ours], expected[theirs])
    frequencies = pd.read_csv(out / "rank_frequencies.csv")
    assert list(frequencies.columns) == ["cohort", "score", "sequence", "rank", "frequency"]
    np.testing.assert_allclose(frequencies.groupby(["cohort", "score", "sequence"])["frequency"].sum(), 1.0)
    assert frequencies.query("sequence == 'dce' and rank == 0")["frequency"].gt(0).all()


def test_region_names_seed_and_overwrite(evaluation, tmp_path) -> None:
    brain = evaluation()
    out = tmp_path / "out"

    def made(**options) -> pd.DataFrame:
        ContributionTable(str(brain), out, samples=30, overwrite=True, **options)()
        return pd.read_csv(out / "contribution_table.csv")

    plain = made()
    pd.testing.assert_frame_equal(plain, made())
    assert not plain["c_t_low"].equals(made(seed=1)["c_t_low"])
    np.testing.assert_allclose(made(region="whole")["c_t"], -plain["c_t"])
    assert set(made(names="mine")["cohort"]) == {"mine"}
    with pytest.raises(FileExistsError, match=r"contribution_table\.csv exists; give another output_dir"):
        ContributionTable(str(brain), out)()


def test_never_touches_the_evaluation(evaluation) -> None:
    brain = evaluation()
    before = {path.name: path.read_bytes() for path in brain.iterdir()}
    ContributionTable(str(brain), brain, samples=5, overwrite=True)()
    assert {name: (brain / name).read_bytes() for name in before} == before


def test_page(evaluation, tmp_path) -> None:
    brain, page = evaluation(), tmp_path / "docs" / "contribution.md"
    options = {"samples": 20, "seed": 4, "page": page, "data": "six `made up` patients"}
    text = ContributionTable(str(brain), tmp_path / "out", **options)()
    written = page.read_text()
    assert text in written
    command = re.search(r"```bash\n(.*?)\n```", written, re.DOTALL).group(1)
    assert shlex.split(command.replace("\\\n", " ")) == [
        "python", "-m", "seq2seq_mri", "contribution_table", str(brain), str(tmp_path / "out"),
        "--samples", "20", "--seed", "4", "--page", str(page), "--data", "six `made up` patients",
    ]  # fmt: skip
    assert "- **Budget**: 20 bootstrap samples of 6 subjects of brain" in written
    assert "PSNR and SSIM (LPIPS was not measured, so A is a sum of two, not three)" in written
    quality = pd.read_csv(page.with_suffix(".csv"), dtype={"subject": str})
    assert list(quality.columns) == ["cohort", *METRIC_COLUMNS]
    assert sorted(quality["subject"].unique()) == [f"{number:03d}" for number in range(6)]
    assert page.with_suffix(".png").is_file()


@pytest.mark.parametrize(
    ("folder", "options", "message"),
    [
        ("brain", {"samples": 0}, "samples is 0; give a whole number of at least 1"),
        ("brain", {"samples": 10.0}, "samples is 10.0"),
        ("brain", {"seed": -1}, "seed is -1; give a whole number of at least 0"),
        ("brain", {"confidence": 95}, "confidence is 95; give a number between 0 and 1"),
        ("brain", {"region": "head"}, "brain: Unknown region 'head'; choose one of foreground, whole, central_crop"),
        ("brain", {"names": "a,b"}, "1 evaluations but 2 names"),
        ("one", {}, "one: A bootstrap over subjects needs at least two"),
        ("", {}, "There is no evaluation"),
        ("a/evaluation,a", {}, "Two evaluations are named a; tell them apart by --names"),
        ("nowhere", {}, "There is no folder nowhere; give the --evaluation_dir"),
    ],
)
def test_refuses_wrong_options_and_folders(evaluation, tmp_path, monkeypatch, folder, options, message) -> None:
    evaluation()
    evaluation("one", 1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        ContributionTable(folder, "out", **options)()
    assert not Path("out").exists()


@pytest.mark.parametrize("absent", ["metrics.csv", "adjacency.csv"])
def test_an_evaluation_without_its_tables(evaluation, tmp_path, absent) -> None:
    brain = evaluation()
    (brain / absent).unlink()
    with pytest.raises(FileNotFoundError, match=f"There is no file .*{absent}"):
        ContributionTable(str(brain), tmp_path / "out")()


def test_the_page_in_docs_is_made_of_its_image_quality(repository) -> None:
    page = repository / "docs" / "results" / "contribution.md"
    if not page.is_file():
        pytest.skip("docs/results/contribution.md is not in this checkout")
    text = page.read_text(encoding="utf-8")
    quality = read_records(page.with_suffix(".csv"), ("cohort", *METRIC_COLUMNS[:3]), METRIC_COLUMNS[3:])
    samples, seed = map(int, re.search(r"Budget\*\*: (\d+) bootstrap.*Seeds\*\*: (\d+)", text, re.DOTALL).groups())
    assert quality["cohort"].nunique() == 2
    for cohort, rows in quality.groupby("cohort"):
        sequences = next(table for table in SEQUENCE_TABLES.values() if set(rows["source"]) <= set(table))
        bootstrap = bootstrap_contribution(rows, sequences, samples=samples, seed=seed)
        assert rows["subject"].nunique() >= 8
        assert format_contribution(cohort_contribution(str(cohort), bootstrap)) in text
