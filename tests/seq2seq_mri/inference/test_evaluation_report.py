# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The tables and figures of an evaluation."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from engine_parts import SEQUENCES, make_sample, tiny_generator, translation_evaluator

from seq2seq_mri.evaluation.contribution.contribution import read_adjacency
from seq2seq_mri.evaluation.image_quality.quality_table import read_metrics
from seq2seq_mri.inference import evaluation_report
from seq2seq_mri.inference.evaluation_report import EvaluationReport
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.networks.generator import Seq2SeqGenerator

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
    assert np.isfinite(
        table[
            ["psnr", "ssim", "psnr_foreground", "ssim_foreground", "psnr_central_crop", "ssim_central_crop"]
        ].to_numpy()
    ).all()
    assert table.lpips.isna().all()


def test_contributions_follow_from_the_adjacency(evaluated) -> None:
    adjacency = read_adjacency(evaluated / "adjacency.csv")
    table = pd.read_csv(evaluated / "contribution.csv")
    assert table.sequence.tolist() == NAMES
    for index, name in enumerate(NAMES):
        assert table.c_t[index] == pytest.approx(adjacency.loc[name].sum() / 3, abs=1e-12)
        assert table.c_d[index] == pytest.approx(-adjacency[name].sum() / 3, abs=1e-12)
    assert table.c_t.sum() + table.c_d.sum() == pytest.approx(0, abs=1e-9)


def test_areas_under_the_curve(evaluated) -> None:
    table = pd.read_csv(evaluated / "differentiation.csv")
    assert list(table[["subject", "sequence"]].itertuples(index=False, name=None)) == [("p2", "dce")]
    assert 0 < table.auc[0] < 1


def test_figures(evaluated) -> None:
    kinds = ("translations", "differentiation", "differentiation_dce")
    of_subjects = {f"{name}_{kind}.png" for name in ("p1", "p2") for kind in kinds}
    assert {path.name for path in (evaluated / "figures").iterdir()} == SUMMARY_FIGURES | of_subjects


class TestLesions:
    """p1 has a lesion in slice 8, p2 one without signal, p3 none."""

    BOX = (slice(4, 7), slice(5, 8), slice(8, 9))
    TABLE: ClassVar = {"t1": 1, "dce": 3, "dwi": 4}
    TABLES: ClassVar = {"times": {"dce": [0, 90, 180]}, "b_values": {"dwi": [0, 150, 800, 1500]}}

    def samples(self) -> list[dict]:
        names = list(self.TABLE)
        samples = [make_sample("p1", names[:2], withheld=["dwi"], sequences=self.TABLE, lesion=self.BOX)]
        samples.append(make_sample("p2", names, sequences=self.TABLE, lesion=self.BOX))
        samples[1]["image"][(1, *self.BOX)] = samples[1]["image"][(4, *self.BOX)] = 0
        return [*samples, make_sample("p3", names, sequences=self.TABLE)]

    def evaluate(self, folder: Path, samples: list[dict], **arguments: Any) -> EvaluationReport:
        report = EvaluationReport(folder, self.TABLE, **arguments)
        evaluator = translation_evaluator(
            samples,
            sequences=self.TABLE,
            network=self.network(),
            differentiation=True,
            report=report,
            val_handlers=[report],
        )
        evaluator.run()
        return report

    def network(self) -> Seq2SeqGenerator:
        """A generator whose images are bright, so that every lesion has a signal at the first timepoint."""
        network = tiny_generator(self.TABLE).eval()
        torch.nn.init.ones_(network.decoder.output.bias_bank)
        torch.nn.init.zeros_(network.decoder.output.bias_code.weight)
        torch.nn.init.ones_(network.decoder.output.bias_code.bias)
        return network

    def test_curves_are_written_and_drawn(self, tmp_path, caplog) -> None:
        with caplog.at_level("INFO"):
            self.evaluate(tmp_path, self.samples(), **self.TABLES)
        table = pd.read_csv(tmp_path / "enhancement.csv")
        pairs = table[["subject", "source", "target"]].drop_duplicates().itertuples(index=False, name=None)
        assert list(pairs) == [("p1", "t1", "dce"), ("p1", "t1", "dwi"), ("p1", "dce", "dwi")]
        assert table["time"].dropna().tolist() == [0, 90, 180]
        assert table["b_value"].dropna().tolist() == [0, 150, 800, 1500] * 2
        signal = self.samples()[0]["image"].as_tensor()[(slice(1, 4), *self.BOX)].mean(dim=(1, 2, 3)).double()
        np.testing.assert_allclose(table["real"][:3], signal / signal[0] - 1, rtol=1e-5, atol=1e-12)
        sample = self.samples()[0]
        made = SliceTranslationInferer()(sample["image"][None], self.network(), sources=["t1"], targets=["dce"])[0]
        signal = made[(slice(None), *self.BOX)].mean(dim=(1, 2, 3)).double()
        np.testing.assert_allclose(table["synthesised"][:3], signal / signal[0] - 1, rtol=1e-4, atol=1e-6)
        figures = {path.name for path in (tmp_path / "figures").glob("*_enhancement_*")}
        assert figures == {"p1_enhancement_dce.png", "p1_enhancement_dwi.png"}
        later = table[table["timepoint"] > 1]
        error = (later["real"] - later["synthesised"]).abs()[later["target"] == "dce"].mean()
        assert "Relative enhancement of the lesions, mean absolute error" in caplog.text
        assert f"{error:.6f}" in caplog.text
        assert "p2: the lesion has no signal at the first timepoint of dce; no curve" in caplog.text

    def test_figures_go_through_the_lesion(self, tmp_path, monkeypatch) -> None:
        shown = []
        for name in ("translation_grid", "differentiation_overlay", "differentiation_strip"):
            draw = getattr(evaluation_report, name)

            def record(*arguments: Any, draw: Any = draw, **options: Any) -> Any:
                shown.append(options["slice_index"])
                return draw(*arguments, **options)

            monkeypatch.setattr(evaluation_report, name, record)
        self.evaluate(tmp_path, self.samples()[::2])
        # Grid, overlay and two strips; the subject without a lesion is shown where there is most of it.
        assert shown == [8] * 4 + [None] * 4

    def test_curves_of_all_subjects_though_few_are_drawn(self, tmp_path) -> None:
        self.evaluate(tmp_path, self.samples(), figure_subjects=0)
        table = pd.read_csv(tmp_path / "enhancement.csv")
        assert len(table) == 3 + 4 + 4
        assert table[["time", "b_value"]].isna().all(axis=None)
        assert {path.name for path in (tmp_path / "figures").iterdir()} == SUMMARY_FIGURES

    def test_without_lesions_there_is_no_table(self, evaluated) -> None:
        assert not (evaluated / "enhancement.csv").exists()

    def test_tables_must_fit(self, tmp_path) -> None:
        with pytest.raises(ValueError, match="Sequence 'dce': The times are"):
            EvaluationReport(tmp_path, self.TABLE, times={"dce": [0, 90]})


def test_eight_sequences_with_missing_pairs(tmp_path) -> None:
    table = {"t1": 1, "fatsat_t1": 1, "t2": 1, "dce": 6, "fatsat_dce": 6, "wash_in": 1, "wash_out": 1, "dwi": 4}
    lacking = [{"fatsat_t1", "fatsat_dce", "dwi"}, {"t1", "dce", "t2"}]
    samples = [
        make_sample(f"p{k}", [name for name in table if name not in absent], sequences=table)
        for k, absent in enumerate(lacking, start=1)
    ]
    report = EvaluationReport(tmp_path, table, figure_subjects=1)
    translation_evaluator(samples, sequences=table, differentiation=True, report=report, val_handlers=[report]).run()
    adjacency = read_adjacency(tmp_path / "adjacency.csv")
    measured = {pair for absent in lacking for pair in itertools.permutations([*table.keys() - absent], 2)}
    assert {
        (row, column) for row, column in itertools.permutations(table, 2) if adjacency.notna().loc[row, column]
    } == (measured)
    assert len(read_metrics(tmp_path / "metrics.csv")) == 2 * 5 * 4
    ranking = pd.read_csv(tmp_path / "contribution.csv")
    assert ranking.c_t.sum() + ranking.c_d.sum() == pytest.approx(0, abs=1e-9)
    assert ranking[["rank_t", "rank_d"]].notna().all(axis=None)
    assert {path.name for path in (tmp_path / "figures").iterdir()} == SUMMARY_FIGURES | {
        "p1_translations.png",
        "p1_differentiation.png",
        "p1_differentiation_dce.png",
    }


def test_region_ranks_by_the_whole_volume(evaluated, tmp_path) -> None:
    evaluate(tmp_path, figure_subjects=0, region="whole")
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
