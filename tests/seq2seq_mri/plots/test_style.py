# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import subprocess
import sys

import matplotlib
import pandas as pd
import pytest
from PIL import Image

from seq2seq_mri.evaluation.contribution.contribution_figure import adjacency_heatmap
from seq2seq_mri.evaluation.image_quality.translation_grid import translation_grid
from seq2seq_mri.plots.style import new_figure, publication_style, save_figure


@pytest.fixture
def adjacency():
    return pd.DataFrame([[0.0, 1.5], [-0.5, 0.0]], ["t1", "t2"], ["t1", "t2"])


def test_png_has_the_figure_s_size(tmp_path):
    path = save_figure(new_figure(3.0, 2.0), tmp_path / "new" / "figure.png", dpi=120)
    with Image.open(path) as image:
        image.load()
        assert (image.format, image.size) == ("PNG", (360, 240))


def test_png_is_the_default(tmp_path):
    path = save_figure(new_figure(1.0, 1.0), tmp_path / "figure")
    assert path == tmp_path / "figure.png"
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg", ".PNG"])
def test_equal_figures_give_equal_bytes(tmp_path, adjacency, suffix):
    first = save_figure(adjacency_heatmap(adjacency), tmp_path / f"first{suffix}").read_bytes()
    assert len(first) > 1000
    assert save_figure(adjacency_heatmap(adjacency), tmp_path / f"second{suffix}").read_bytes() == first


def test_equal_grids_give_equal_bytes(tmp_path, subject):
    files = [save_figure(translation_grid(*subject), tmp_path / f"{name}.png").read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_the_user_s_settings_neither_matter_nor_change(tmp_path, adjacency):
    plain = save_figure(adjacency_heatmap(adjacency), tmp_path / "plain.png").read_bytes()
    with matplotlib.rc_context({"font.size": 20, "savefig.dpi": 50, "axes.grid": True, "savefig.bbox": "tight"}):
        mine = save_figure(adjacency_heatmap(adjacency), tmp_path / "mine.png").read_bytes()
        assert matplotlib.rcParams["font.size"] == 20
    assert mine == plain


def test_settings_are_restored_after_an_error():
    before = matplotlib.rcParams["font.size"]
    with pytest.raises(ValueError, match="wrong"), publication_style():
        raise ValueError("wrong")
    assert matplotlib.rcParams["font.size"] == before


def test_no_pyplot_figure_is_left(subject):
    from matplotlib import pyplot

    translation_grid(*subject)
    assert pyplot.get_fignums() == []


@pytest.mark.slow
def test_works_without_a_display(tmp_path):
    code = (
        "from seq2seq_mri.visualize import training_curves, save_figure; "
        f"save_figure(training_curves({{'epoch': [1, 2], 'loss': [2.0, 1.0]}}), {str(tmp_path / 'curve.png')!r})"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PATH": "", "MPLBACKEND": "Agg", "HOME": str(tmp_path)}
    )
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_existing_file_is_kept_unless_told(tmp_path):
    path = tmp_path / "figure.png"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"figure\.png exists"):
        save_figure(new_figure(1.0, 1.0), path)
    assert path.read_text() == "mine"
    save_figure(new_figure(1.0, 1.0), path, overwrite=True)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_unknown_format(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be written as '\.jpg'.*\.png, \.pdf, \.svg"):
        save_figure(new_figure(1.0, 1.0), tmp_path / "figure.jpg")
    assert not list(tmp_path.iterdir())
