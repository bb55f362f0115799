# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The command from a datalist to its page, stopped and resumed."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from seq2seq_mri.evaluation.records import read_records
from seq2seq_studies.comparison import comparison_runs
from seq2seq_studies.comparison.compare_generators import compare_generators
from seq2seq_studies.comparison.quality_comparison import COMPARISON_NUMBERS, COMPARISON_TEXT


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch) -> None:
    # A new process takes seconds to start.
    monkeypatch.setattr(comparison_runs, "in_fresh_process", lambda function, *arguments: function(*arguments))


@pytest.fixture
def compare(datalist, repository, tmp_path):
    def run(**options) -> str:
        settings = {
            **{"methods": "mm_gan,seq2seq_c", "size": "tiny", "steps": 3, "patches": 2, "slice_size": (32, 32)},
            **{"lpips": "none", "bundle_dir": repository / "bundles" / "seq2seq_brats", "device": "cpu"},
        }
        return compare_generators(tmp_path / "out", datalist, **{**settings, **options})

    return run


def scores(folder: Path) -> pd.DataFrame:
    return read_records(folder / "out" / "comparison.csv", COMPARISON_TEXT, COMPARISON_NUMBERS)


@pytest.mark.slow
def test_all_that_is_asked_for_is_written(compare, tmp_path) -> None:
    text = compare(seconds=0.001, seeds="0,1", page=tmp_path / "docs" / "table.md", note="Because it is tiny.")
    assert "### One source to one target" in text
    table = scores(tmp_path)
    assert set(table["method"]) == {"copy", "tissue_mean", "mm_gan", "seq2seq_c"}
    assert set(table["budget"]) == {"none", "3 steps", "0.001 seconds"}
    # Two subjects of four sequences: twelve pairs, and four from all others.
    counts = table.groupby(["budget", "method", "seed"]).size()
    assert set(counts) == {2 * (12 + 4)}
    assert len(counts) == 2 + 2 * 2 * 2
    page = (tmp_path / "docs" / "table.md").read_text(encoding="utf-8")
    for what in ("compare_generators", "- **Seeds**: 0, 1", "- **Budget**: 3 steps", "Because it is tiny.", "tanh"):
        assert what in page
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (tmp_path / "docs" / link).is_file()
    facts = json.loads((tmp_path / "out/seconds_0.001/mm_gan/seed_1/training.json").read_text())
    assert facts["steps"] == 1  # no time for more
    tests = pd.read_csv(tmp_path / "out" / "comparison_tests.csv")
    assert len(tests) == 2 * 2 * 5 * 6
    assert not list((tmp_path / "out").rglob("last.pt"))


def test_a_stopped_job_goes_on_and_what_is_done_is_not_repeated_nor_mixed(compare, tmp_path, monkeypatch) -> None:
    trained: list[str] = []
    build = comparison_runs.build_recipe

    def recorded(method: str, *arguments):
        trained.append(method)
        if method == "seq2seq_c" and trained.count(method) == 1:
            raise KeyboardInterrupt
        return build(method, *arguments)

    monkeypatch.setattr(comparison_runs, "build_recipe", recorded)
    with pytest.raises(KeyboardInterrupt):
        compare()
    assert trained == ["mm_gan", "seq2seq_c"]
    done = (tmp_path / "out/steps_3/mm_gan/seed_0/weights.pt").read_bytes()
    compare()
    assert trained == ["mm_gan", "seq2seq_c", "seq2seq_c"]
    assert (tmp_path / "out/steps_3/mm_gan/seed_0/weights.pt").read_bytes() == done
    first = scores(tmp_path)
    compare(seeds="0,1")
    assert trained[3:] == ["mm_gan", "seq2seq_c"]
    both = scores(tmp_path)
    pd.testing.assert_frame_equal(both[both["seed"] == 0].reset_index(drop=True), first)
    # A training that was not scored is not repeated.
    (tmp_path / "out/steps_3/mm_gan/seed_0/scores.csv").unlink()
    monkeypatch.setattr(comparison_runs.MethodTraining, "run", lambda *_: pytest.fail("trained again"))
    compare()
    pd.testing.assert_frame_equal(scores(tmp_path), first)
    with pytest.raises(ValueError, match="another protocol: patches was 2 and is 1"):
        compare(patches=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": "cyclegan"}, "methods is 'cyclegan'; give some of pix2pix"),
        ({"methods": "copy"}, "The baselines are always there"),
        ({"size": "huge"}, "size is 'huge'; give one of published"),
        ({"steps": 0}, "steps is 0; give a positive whole number"),
        ({"steps": None}, "no budget to train for"),
        ({"seconds": -1}, "seconds is -1; give a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"seeds": "a"}, "seeds is 'a'; give whole numbers"),
        ({"slices": 2}, "needs an odd number"),
        ({"slice_size": 8}, "slice_size is 8; give width and height"),
        ({"device": "tpu"}, "device is 'tpu'; give cpu or cuda"),
        ({"lpips": "resnet"}, "Unknown LPIPS network 'resnet'"),
    ],
)
def test_mistakes_are_said_before_anything_is_computed(compare, options, message, tmp_path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        compare(**options)
    assert not (tmp_path / "out" / "costs").exists()


def test_each_patient_is_tested_on_by_methods_that_did_not_see_it(compare, tmp_path) -> None:
    options = {"leave_one_out": True, "training": ["training", "testing"], "methods": "seq2seq_c", "steps": 2}
    page = tmp_path / "docs" / "table.md"
    compare(**options, page=page, page_slices=False)
    table = scores(tmp_path)
    trained = table[table["method"] == "seq2seq_c"]
    folders = sorted((tmp_path / "out/steps_2/seq2seq_c/seed_0").iterdir())
    assert [f"without_{subject}" for subject in sorted(set(trained["subject"]))] == [path.name for path in folders]
    assert len(folders) == 5
    for folder in folders:
        only = read_records(folder / "scores.csv", COMPARISON_TEXT, COMPARISON_NUMBERS)
        assert {f"without_{subject}" for subject in only["subject"]} == {folder.name}
    text = (tmp_path / "out" / "comparison.md").read_text(encoding="utf-8")
    assert "5 subjects, each patient tested on by methods trained on all others" in text
    assert "_slices.png" in text
    assert "_slices.png" not in page.read_text(encoding="utf-8")
    assert not page.with_name("table_slices.png").exists()
