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
from engine_parts import SEQUENCES, make_sample, tiny_generator, translation_evaluator
from matplotlib.figure import Figure

from seq2seq_mri.evaluation.contribution.contribution import read_adjacency
from seq2seq_mri.evaluation.image_quality.quality_table import read_metrics
from seq2seq_mri.inference import evaluation_report
from seq2seq_mri.inference.evaluation_report import EvaluationReport
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.plots.slices import SliceView

NAMES = list(SEQUENCES)
SUMMARY_FIGURES = {"adjacency.png", "contribution.png", "metrics.png"}
SAMPLES = [
    make_sample("p2", NAMES, unique=["dce"]),
    make_sample("p1", ["t1", "t2"], withheld=["dce"]),
    make_sample("p3", ["t2"]),
]


def evaluate(
    folder: Path, samples: list[dict] = SAMPLES, sequences=SEQUENCES, network=None, figure_subjects=1, **options: Any
) -> None:
    report = EvaluationReport(folder, sequences, figure_subjects=figure_subjects, **options)
    engine = {"report": report, "val_handlers": [report], "network": network or tiny_generator(sequences).eval()}
    translation_evaluator(samples, sequences=sequences, differentiation=True, **engine).run()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    evaluate(folder)
    return folder


@pytest.fixture
def drawn(monkeypatch) -> list[tuple[str, int | None]]:
    """Subject and slice of each figure of images, which is left blank."""
    shown = []

    def draw(*arguments: Any, view: SliceView, **options: Any) -> Figure:
        shown.append((view.subject, view.index))
        return Figure()

    for name in ("translation_grid", "differentiation_overlay", "differentiation_strip"):
        monkeypatch.setattr(evaluation_report, name, draw)
    return shown


def test_tables(evaluated) -> None:
    table = read_metrics(evaluated / "metrics.csv")
    expected = [("p1", source, target) for source in ("t1", "t2") for target in NAMES if target != source]
    expected += [("p2", source, target) for source, target in itertools.permutations(NAMES, 2)]
    assert list(table[["subject", "source", "target"]].itertuples(index=False, name=None)) == expected
    areas = pd.read_csv(evaluated / "differentiation.csv")
    assert areas[["subject", "sequence"]].to_numpy().tolist() == [["p2", "dce"]]
    assert 0 < areas.auc[0] < 1
    assert not (evaluated / "enhancement.csv").exists()  # there are no lesions


def test_figures(evaluated) -> None:
    of_subjects = {f"p2_{kind}.png" for kind in ("translations", "differentiation", "differentiation_dce")}
    assert {path.name for path in (evaluated / "figures").iterdir()} == SUMMARY_FIGURES | of_subjects


def test_region_ranks_by_the_whole_volume(evaluated, tmp_path) -> None:
    evaluate(tmp_path, figure_subjects=0, region="whole")
    assert (tmp_path / "metrics.csv").read_bytes() == (evaluated / "metrics.csv").read_bytes()
    assert (tmp_path / "adjacency.csv").read_bytes() != (evaluated / "adjacency.csv").read_bytes()


def test_pairs_that_no_subject_has(tmp_path) -> None:
    evaluate(tmp_path, [make_sample("p1", ["t1", "dce"]), make_sample("p2", ["dce", "t2"])], figure_subjects=0)
    adjacency = read_adjacency(tmp_path / "adjacency.csv")
    assert {pair for pair in itertools.permutations(NAMES, 2) if np.isnan(adjacency.loc[pair])} == {
        ("t1", "t2"),
        ("t2", "t1"),
    }
    ranking = pd.read_csv(tmp_path / "contribution.csv")
    assert ranking.notna().all(axis=None)
    assert ranking.c_t.sum() + ranking.c_d.sum() == pytest.approx(0, abs=1e-9)


class TestLesions:
    """p1 has a lesion in slice 8, p2 one without signal, p3 none."""

    BOX = (slice(4, 7), slice(5, 8), slice(8, 9))

    def evaluate(self, folder: Path, **options: Any) -> tuple[list[dict], torch.Tensor]:
        """Return the samples, and what the network makes of t1 of the first one: its dce."""
        table = {"t1": 1, "dce": 3, "dwi": 4}
        names = list(table)
        samples = [make_sample("p1", names[:2], withheld=["dwi"], sequences=table, lesion=self.BOX)]
        samples.append(make_sample("p2", names, sequences=table, lesion=self.BOX))
        samples[1]["image"][(1, *self.BOX)] = samples[1]["image"][(4, *self.BOX)] = 0
        samples.append(make_sample("p3", names, sequences=table))
        # Its images are bright, so that every lesion has a signal at the first timepoint.
        network = tiny_generator(table).eval()
        torch.nn.init.ones_(network.decoder.output.bias_bank)
        torch.nn.init.zeros_(network.decoder.output.bias_code.weight)
        torch.nn.init.ones_(network.decoder.output.bias_code.bias)
        evaluate(folder, samples, table, network, **options)
        return samples, SliceTranslationInferer()(samples[0]["image"][None], network, ["t1"], ["dce"])[0]

    def test_curves_and_figures_through_the_lesion(self, tmp_path, caplog, drawn) -> None:
        tables = {"times": {"dce": [0, 90, 180]}, "b_values": {"dwi": [0, 150, 800, 1500]}}
        with caplog.at_level("INFO"):
            samples, made = self.evaluate(tmp_path, figure_subjects=3, **tables)
        table = pd.read_csv(tmp_path / "enhancement.csv")
        pairs = table[["subject", "source", "target"]].drop_duplicates().itertuples(index=False, name=None)
        assert list(pairs) == [("p1", "t1", "dce"), ("p1", "t1", "dwi"), ("p1", "dce", "dwi")]
        assert table["time"].dropna().tolist() == [0, 90, 180]
        assert table["b_value"].dropna().tolist() == [0, 150, 800, 1500] * 2
        for column, image in (("real", samples[0]["image"].as_tensor()[1:4]), ("synthesised", made)):
            signal = image[(slice(None), *self.BOX)].mean(dim=(1, 2, 3)).double()
            np.testing.assert_allclose(table[column][:3], signal / signal[0] - 1, rtol=1e-4, atol=1e-6)
        figures = {path.name for path in (tmp_path / "figures").glob("*_enhancement_*")}
        assert figures == {"p1_enhancement_dce.png", "p1_enhancement_dwi.png"}
        later = table[table["timepoint"] > 1]
        error = (later["real"] - later["synthesised"]).abs()[later["target"] == "dce"].mean()
        assert "Relative enhancement of the lesions, mean absolute error" in caplog.text
        assert f"{error:.6f}" in caplog.text
        assert "p2: the lesion has no signal at the first timepoint of dce; no curve" in caplog.text
        # Grid, overlay and two strips; the subject without a lesion is shown where there is most of it.
        assert drawn == [("p1", 8)] * 4 + [("p2", 8)] * 4 + [("p3", None)] * 4

    def test_curves_of_all_subjects_though_few_are_drawn(self, tmp_path) -> None:
        self.evaluate(tmp_path, figure_subjects=0)
        table = pd.read_csv(tmp_path / "enhancement.csv")
        assert len(table) == 3 + 4 + 4
        assert table[["time", "b_value"]].isna().all(axis=None)
        assert {path.name for path in (tmp_path / "figures").iterdir()} == SUMMARY_FIGURES


@pytest.mark.parametrize(("rank", "world_size", "expected"), [(0, 1, ["p1"]), (0, 2, ["p1"]), (1, 2, [])])
def test_figures_are_limited_over_all_processes(tmp_path, monkeypatch, drawn, rank, world_size, expected) -> None:
    monkeypatch.setattr(evaluation_report, "rank", lambda: rank)
    monkeypatch.setattr(evaluation_report, "world_size", lambda: world_size)
    evaluate(tmp_path, [make_sample(name, ["t1", "t2"]) for name in ("p1", "p2")])
    assert list(dict(drawn)) == expected


@pytest.mark.parametrize(
    ("samples", "message", "measured"),
    [
        ([{"subject": "p1", "error": "no file"}, SAMPLES[0]], r"1 subject\(s\) failed, .*done:\n  p1: no file", ["p2"]),
        ([{"subject": "p1", "error": "no file"}, SAMPLES[2]], r"1 subject\(s\) failed, .*done:\n  p1: no file", []),
        ([SAMPLES[2]], "No pair of sequences was measured in any subject", []),
    ],
)
def test_subjects_that_fail_or_have_no_pair(tmp_path, samples, message, measured) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(tmp_path, samples, figure_subjects=0)
    assert any(path.is_file() for path in tmp_path.rglob("*")) == bool(measured)
    assert not measured or pd.read_csv(tmp_path / "metrics.csv").subject.unique().tolist() == measured
