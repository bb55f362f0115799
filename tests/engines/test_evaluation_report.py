# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The tables and figures of an evaluation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from engine_parts import SEQUENCES, make_sample, translation_evaluator

from seq2seq_mri.analysis.contribution import read_adjacency, read_contribution
from seq2seq_mri.analysis.differentiation_table import read_differentiation_table
from seq2seq_mri.engines import evaluation_report
from seq2seq_mri.engines.evaluation_report import EvaluationReport
from seq2seq_mri.metrics.table import read_metrics

NAMES = list(SEQUENCES)
SUMMARY_FIGURES = {"adjacency.png", "contribution.png", "metrics.png"}


def evaluate(folder: Path, samples: list[dict] | None = None, **arguments: Any) -> EvaluationReport:
    samples = samples or [
        make_sample("p2", NAMES, unique=["dce"]),
        make_sample("p1", ["t1", "t2"], withheld=["dce"]),
        make_sample("p3", ["t2"]),
    ]
    report = EvaluationReport(folder, SEQUENCES, **arguments)
    translation_evaluator(samples, differentiation=True, report=report, val_handlers=[report]).run()
    return report


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate(folder)
    return folder


def test_metrics_are_sorted_by_subject_and_sequence(evaluated) -> None:
    table = read_metrics(evaluated / "metrics.csv")
    expected = [("p1", source, target) for source in ("t1", "t2") for target in NAMES if target != source]
    expected += [("p2", source, target) for source, target in itertools.permutations(NAMES, 2)]
    assert list(table[["subject", "source", "target"]].itertuples(index=False, name=None)) == expected
    assert np.isfinite(table[["psnr", "ssim", "psnr_foreground", "ssim_foreground"]].to_numpy()).all()
    assert table.lpips.isna().all()


def test_contributions_follow_from_the_adjacency(evaluated) -> None:
    adjacency = read_adjacency(evaluated / "adjacency.csv")
    table = read_contribution(evaluated / "contribution.csv")
    assert table.sequence.tolist() == NAMES
    for index, name in enumerate(NAMES):
        assert table.c_t[index] == pytest.approx(adjacency.loc[name].sum() / 3, abs=1e-12)
        assert table.c_d[index] == pytest.approx(-adjacency[name].sum() / 3, abs=1e-12)
    assert table.c_t.sum() + table.c_d.sum() == pytest.approx(0, abs=1e-9)


def test_areas_under_the_curve(evaluated) -> None:
    table = read_differentiation_table(evaluated / "differentiation.csv")
    assert list(table[["subject", "sequence"]].itertuples(index=False, name=None)) == [("p2", "dce")]
    assert 0 < table.auc[0] < 1


def test_figures(evaluated) -> None:
    of_subjects = {f"{name}_{kind}.png" for name in ("p1", "p2") for kind in ("translations", "differentiation")}
    assert {path.name for path in (evaluated / "figures").iterdir()} == SUMMARY_FIGURES | of_subjects


def test_region_ranks_by_the_foreground(evaluated, tmp_path) -> None:
    evaluate(tmp_path, figure_subjects=0, region="foreground")
    assert (tmp_path / "metrics.csv").read_bytes() == (evaluated / "metrics.csv").read_bytes()
    assert (tmp_path / "adjacency.csv").read_bytes() != (evaluated / "adjacency.csv").read_bytes()


def test_an_evaluation_is_not_overwritten_unasked(evaluated) -> None:
    before = contents(evaluated)
    with pytest.raises(FileExistsError, match=r"metrics\.csv exists; give another --output_dir, or --overwrite true"):
        EvaluationReport(evaluated, SEQUENCES)
    assert contents(evaluated) == before
    evaluate(evaluated, overwrite=True)
    assert contents(evaluated) == before


@pytest.mark.parametrize(("rank", "world_size", "expected"), [(0, 1, 1), (0, 2, 1), (1, 2, 0)])
def test_figures_are_limited_over_all_processes(tmp_path, monkeypatch, rank, world_size, expected) -> None:
    monkeypatch.setattr(evaluation_report, "rank", lambda: rank)
    monkeypatch.setattr(evaluation_report, "world_size", lambda: world_size)
    evaluate(tmp_path, [make_sample(name, ["t1", "t2"]) for name in ("p1", "p2")], figure_subjects=1)
    assert len(list((tmp_path / "figures").glob("*_translations.png"))) == expected


def test_failures_are_listed_though_nothing_was_measured(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"1 subject\(s\) failed, the others are done:\n  p1: no such file"):
        evaluate(tmp_path, [{"subject": "p1", "error": "no such file"}, make_sample("p2", ["t1"])])
    assert contents(tmp_path) == {}


def test_nothing_to_measure(tmp_path) -> None:
    with pytest.raises(ValueError, match="No pair of sequences was measured in any subject"):
        evaluate(tmp_path, [make_sample("p1", ["t1"])])
    assert contents(tmp_path) == {}


def test_a_failed_subject_leaves_the_others_tables(tmp_path) -> None:
    bad = make_sample("p1", NAMES)
    bad["image"][0, 3, 3, 3] = torch.inf
    with pytest.raises(ValueError, match=r"1 subject\(s\) failed"):
        evaluate(tmp_path, [bad, make_sample("p2", NAMES)], figure_subjects=0)
    assert pd.read_csv(tmp_path / "metrics.csv").subject.unique().tolist() == ["p2"]


def test_a_folder_that_cannot_be_written(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot be written"):
        EvaluationReport(tmp_path / "file" / "evaluation", SEQUENCES)
