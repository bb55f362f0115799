# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The figures of Table 1."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from seq2seq_studies.comparison.comparison_figure import quality_comparison, slice_comparison


def scores(lpips: float = 0.1) -> pd.DataFrame:
    rows = [
        {"budget": budget, "method": method, "setting": setting, "subject": subject, "psnr": 20.0 + number,
         "ssim": 0.8, "lpips": lpips, "psnr_foreground": 15.0, "ssim_foreground": 0.7}
        for budget, method in (("none", "copy"), ("5 steps", "mm_gan"))
        for setting in ("one_source", "one_missing")
        for number, subject in enumerate(("p1", "p2"))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_point_for_each_subject_and_a_line_for_the_mean() -> None:
    figure = quality_comparison(scores())
    assert len(figure.axes) == 6
    first = figure.axes[0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["Copy the source", "MM-GAN"]
    assert [list(line.get_xdata()) for line in first.lines] == [[20.0, 21.0], [20.0, 21.0]]
    assert first.get_xlabel() == "PSNR (dB)"
    assert len(quality_comparison(scores(math.nan)).axes) == 4  # a measure that nobody has is left out


def test_the_same_slice_of_each_method() -> None:
    random = np.random.default_rng(0)
    measured = {"t1": random.random((20, 16)), "t2": random.random((20, 16))}
    views = {
        "copy": {**measured, **{f"synthesised_{name}": random.random((20, 16)) for name in measured}},
        "mm_gan": {"t1": measured["t1"], "synthesised_t1": random.random((20, 16))},
    }
    figure = slice_comparison(views, ["t1", "t2", "flair"], "p1")
    assert len(figure.axes) == 2 * 3
    assert [axes.get_title() for axes in figure.axes[:3]] == ["measured", "Copy\nthe source", "MM-GAN"]
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), measured["t1"])
    assert not figure.axes[5].images
    assert "not" in figure.axes[5].texts[0].get_text()
