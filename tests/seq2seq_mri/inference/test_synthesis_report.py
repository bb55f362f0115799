# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The table and the pictures of a synthesis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from engine_parts import SEQUENCES, make_sample, synthesis_evaluator, tiny_generator
from matplotlib.figure import Figure

from seq2seq_mri.inference import synthesis_report
from seq2seq_mri.inference.synthesis_report import SynthesisReport

NAMES = list(SEQUENCES)


def synthesise(
    folder: Path, samples: list[dict], seed: int = 0, targets: Any = "missing", failing: Any = (), **arguments: Any
) -> None:
    def save(data: dict) -> dict:
        if data["subject"] in failing:
            raise FileExistsError(17, "the image exists")
        return data

    report = SynthesisReport(folder, SEQUENCES, **arguments)
    engine = {"report": report, "val_handlers": [report], "network": tiny_generator(seed=seed), "postprocessing": save}
    synthesis_evaluator(samples, targets=targets, **engine).run()


def rows(folder: Path) -> list[tuple]:
    return list(pd.read_csv(folder / "synthesis.csv").itertuples(index=False, name=None))


def test_lists_and_draws_what_was_synthesised(tmp_path) -> None:
    synthesise(tmp_path, [make_sample("p2", ["t1", "t2"]), make_sample("p1", ["dce"]), make_sample("p3", NAMES)])
    assert rows(tmp_path) == [
        ("p1", "t1", "dce", "p1/p1_t1.nii.gz"),
        ("p1", "t2", "dce", "p1/p1_t2.nii.gz"),
        ("p2", "dce", "t1 t2", "p2/p2_dce.nii.gz"),
    ]
    pictures = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    assert pictures == {"p1/p1_t1.png", "p1/p1_t2.png", "p2/p2_dce.png"}


def test_pictures_go_through_the_lesion_and_name_timepoints(tmp_path, monkeypatch) -> None:
    shown = {}

    def record(sources: Any, target: str, synthesised: Any, **options: Any) -> Figure:
        shown[options["view"].subject] = (
            target,
            options["view"].index,
            options["frames"][target].name(1),
            len(synthesised),
        )
        return Figure()

    monkeypatch.setattr(synthesis_report, "synthesis_panel", record)
    samples = [
        make_sample("p1", ["t1", "t2"], lesion=(slice(4, 7), slice(5, 8), slice(8, 9))),
        make_sample("p2", ["t1", "t2"]) | {"lesion": "not_loaded.nii.gz"},
    ]
    synthesise(tmp_path, samples, times={"dce": [0, 90, 180]})
    assert shown == {"p1": ("dce", 8, "90 s", 3), "p2": ("dce", None, "90 s", 3)}


def test_an_earlier_table_is_added_to_without_subjects_that_fail(tmp_path) -> None:
    sample = make_sample("p1", ["t1"])
    synthesise(tmp_path, [sample], targets="t2", figures=False)
    with pytest.raises(ValueError, match=r"1 subject\(s\) failed, the others are done:\n  p1: .*the image exists"):
        synthesise(tmp_path, [make_sample("p2", ["dce"]), sample], targets="t1", figures=False, failing=["p1"])
    synthesise(tmp_path, [make_sample("p2", ["t1"]), sample], targets="dce", figures=False)
    assert [row[:2] for row in rows(tmp_path)] == [("p1", "dce"), ("p1", "t2"), ("p2", "dce"), ("p2", "t1")]
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("existing", ["skip", "overwrite"])
def test_pictures_and_lines_stay_with_their_images(tmp_path, existing) -> None:
    synthesise(tmp_path, [make_sample("p1", ["t1", "t2"])], targets="dce")
    picture = tmp_path / "p1" / "p1_dce.png"
    before = picture.read_bytes()
    assert rows(tmp_path)[0][2] == "t1 t2"
    synthesise(tmp_path, [make_sample("p1", ["t2"])], targets="dce", seed=1, existing=existing)
    replaced = existing == "overwrite"
    assert (picture.read_bytes() != before) == replaced
    assert rows(tmp_path)[0][2] == ("t2" if replaced else "t1 t2")


def entry(subject: str, *names: str) -> dict:
    """Return a subject as a datalist has it."""
    return {"subject": subject, **{name: f"{subject}_{name}.nii.gz" for name in names}}


SUBJECTS = [entry("p1", "t1", "t2"), entry("p2", *NAMES), entry("p3", "t2"), entry("p4", "t1", "swi"), entry("p5")]


def write_images(folder: Path, subject: str, *endings: str) -> None:
    (folder / subject).mkdir(exist_ok=True)
    for ending in endings:
        (folder / subject / f"{subject}_{ending}.nii.gz").touch()


class TestSubjectsToSynthesise:
    @pytest.mark.parametrize(
        ("targets", "expected"),
        [
            ("missing", ["p1_dce.nii.gz", "p3_t1_sd.nii.gz"]),
            ("all", ["p1_dce.nii.gz", "p3_t1_sd.nii.gz", "p3_t2.nii.gz"]),
            (["t2"], ["p3_t2.nii.gz"]),
        ],
    )
    def test_files_that_exist_are_listed_before_anything_is_computed(self, tmp_path, targets, expected) -> None:
        write_images(tmp_path, "p1", "dce")
        write_images(tmp_path, "p3", "t1_sd", "t2")
        with pytest.raises(FileExistsError, match="are there already; give another --output_dir, or --exist") as caught:
            SynthesisReport(tmp_path, SEQUENCES).subjects_to_synthesise(SUBJECTS, targets)
        paths = [str(tmp_path / name.split("_")[0] / name) for name in expected]
        assert str(caught.value).splitlines()[1:] == [f"  {path} exists" for path in paths]

    def test_a_long_list_is_cut(self, tmp_path) -> None:
        subjects = [entry(f"p{k}", "t1", "t2") for k in range(15)]
        for subject in subjects:
            write_images(tmp_path, subject["subject"], "dce", "dce_sd")
        with pytest.raises(FileExistsError) as caught:
            SynthesisReport(tmp_path, SEQUENCES).subjects_to_synthesise(subjects)
        lines = str(caught.value).splitlines()
        assert (len(lines), lines[-1]) == (22, "  and 10 more")

    def test_those_whose_files_all_exist_are_skipped_and_listed(self, tmp_path) -> None:
        """No table was written by the job that was stopped."""
        write_images(tmp_path, "p1", "dce", "dce_sd")
        write_images(tmp_path, "p3", "t1", "t1_sd")
        report = SynthesisReport(tmp_path, SEQUENCES, existing="skip")
        assert [left["subject"] for left in report.subjects_to_synthesise(SUBJECTS)] == ["p2", "p3", "p4", "p5"]
        report.write()
        assert rows(tmp_path) == [("p1", "dce", "t1 t2", "p1/p1_dce.nii.gz")]
        replacing = SynthesisReport(tmp_path, SEQUENCES, existing="overwrite")
        assert replacing.subjects_to_synthesise(SUBJECTS) == SUBJECTS

    def test_what_loading_computes_is_not_missing(self, tmp_path) -> None:
        write_images(tmp_path, "p1", "t1", "t1_sd")
        subjects = [entry("p1", "dce"), entry("p2", "t1")]
        for computed, left in ({"t2": ["dce"]}, ["p2"]), ({"t2": ["t1"]}, ["p1", "p2"]), (None, ["p1", "p2"]):
            report = SynthesisReport(tmp_path, SEQUENCES, existing="skip", computed=computed)
            assert [subject["subject"] for subject in report.subjects_to_synthesise(subjects)] == left
