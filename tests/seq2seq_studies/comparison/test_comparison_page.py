# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What the page says of the numbers."""

from __future__ import annotations

import itertools

import pandas as pd
import pytest

from seq2seq_studies.comparison.comparison_page import baseline_verdict, format_costs, format_quality, format_tests
from seq2seq_studies.comparison.quality_comparison import COMPARED, paired_tests, quality_table

PSNR = {"copy": 15.0, "tissue_mean": 20.0, "mm_gan": 25.0, "resvit": 18.0}


@pytest.fixture
def scores() -> pd.DataFrame:
    rows = []
    for (method, psnr), (number, subject) in itertools.product(PSNR.items(), enumerate(("p1", "p2", "p3"))):
        measures = dict.fromkeys(COMPARED, 0.5) | {"psnr": psnr + number**2 * psnr / 100, "lpips": float("nan")}
        budget = "none" if method in ("copy", "tissue_mean") else "9 steps"
        text = {"budget": budget, "method": method, "setting": "one_missing", "subject": subject}
        rows.append({**text, "sources": "t2", "target": "t1", "seed": 0, **measures, "data_range": 1.0})
    return pd.DataFrame(rows)


def test_quality_has_what_was_measured(scores) -> None:
    text = format_quality(quality_table(scores))
    assert "### All others to the missing one" in text
    assert "LPIPS" not in text
    assert "| MM-GAN | 9 steps | 3 | 25.42 ± 0.52 |" in text


def test_verdict_names_who_does_not_beat_what(scores) -> None:
    text = baseline_verdict(quality_table(scores))
    assert text.startswith("By mean PSNR, 1 of 2 rows of trained methods beat both trivial baselines.\n")
    setting = "9 steps, all others to the missing one"
    assert f"- {setting}: “Tissue mean” (20.33 dB) is not beaten by ResViT (18.30)." in text
    assert "Copy the source" not in text
    worse = scores.assign(psnr=scores["psnr"].where(scores["budget"] == "none", 1.0))
    assert f"- {setting}: “Copy the source” (15.25 dB) is not beaten by any method." in baseline_verdict(
        quality_table(worse)
    )
    better = scores[scores["method"] != "resvit"]
    assert "all 1 trained methods beat both" in baseline_verdict(quality_table(better))
    assert baseline_verdict(quality_table(scores[scores["budget"] == "none"])) == ""


def test_tests_are_differences_row_minus_column(scores) -> None:
    text = format_tests(paired_tests(scores))
    assert "| PSNR, all others to the missing one, 9 steps | Tissue mean | MM-GAN | ResViT |" in text
    assert "| MM-GAN |  |  | +7.12 (" in text
    # All have the same SSIM in all subjects.
    assert "+0.000 (n/a)" in text


def test_costs_that_are_not_known() -> None:
    keys = [
        *("parameters", "discriminator_parameters", "inference_gmacs", "inference_gmacs_one_source"),
        *("inference_seconds", "training_gmacs", "training_seconds"),
    ]
    cost = dict.fromkeys(keys, 1234567.0) | {"inference_gib": None, "training_gib": 0.5}
    text = format_costs({"mm_gan": cost})
    assert "| MM-GAN | 1.235 | 1.235 |" in text
    assert "| n/a |" in text
