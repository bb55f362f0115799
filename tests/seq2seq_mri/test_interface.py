# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The functions of a notebook give what the bundle's commands and the equations give."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser

import seq2seq_mri as s2s

SHAPE = (33, 30, 7)
AFFINE = np.array([[-1.1, 0, 0, 20], [0, -0.9, 0.1, 25], [0, 0.1, 3, -9], [0, 0, 0, 1]])
SEQUENCES = ("t1", "t1gd", "t2", "flair")


@pytest.fixture(scope="module")
def generator(repository, tmp_path_factory):
    """The brain's bundle with a small network of random weights."""
    options = {"network_def#channels": [3, 4, 5], "network_def#num_res_blocks": 1}
    parser = ConfigParser(ConfigParser.load_config_file(repository / "bundles/seq2seq_brats/configs/inference.json"))
    parser.update(options)
    torch.manual_seed(0)
    weights = tmp_path_factory.mktemp("weights") / "model.pt"
    torch.save(parser.get_parsed_content("network_def").state_dict(), weights)
    return s2s.load_bundle(repository / "bundles/seq2seq_brats", weights, options={**options, "slice_size": [24, 24]})


@pytest.fixture
def make_files(tmp_path):
    """Write a subject's images, an ellipsoid of noise that grows brighter, and return sequence → path."""

    def make(name: str, sequences=SEQUENCES, seed: int = 0) -> dict[str, Path]:
        generator = np.random.default_rng(seed)
        points = np.moveaxis(np.indices(SHAPE), 0, -1) - (np.array(SHAPE) - 1) / 2
        inside = ((points / (np.array(SHAPE) / 2.2)) ** 2).sum(-1) < 1
        files = {sequence: tmp_path / f"{name}_{sequence}.nii.gz" for sequence in sequences}
        for level, path in enumerate(files.values(), start=1):
            voxels = inside * generator.uniform(50, 100 * level, SHAPE)
            nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), AFFINE), path)
        return files

    return make


def test_everything_in_front_is_there() -> None:
    for name in s2s.__all__:
        assert getattr(s2s, name) is not None
    assert {"load_bundle", "read_subject", "synthesise", "differentiate", "rank"} <= set(s2s.__all__)


def test_importing_the_package_imports_nothing_large() -> None:
    code = "import sys, seq2seq_mri; assert not {'torch', 'monai', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def translations(generator, subject: dict, sources: list[str], target: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the prepared target, and what each source says of it, all cropped and reoriented for the network."""
    sample = generator.preprocessing(subject)
    image, translate = sample["image"], generator.inferer
    made = [translate(image[None], generator.network, sources=[source], targets=[target])[0, 0] for source in sources]
    return image.as_tensor()[SEQUENCES.index(target)], torch.stack(made)


def test_a_synthesis_is_on_the_grid_of_the_files(generator, make_files, tmp_path) -> None:
    files = make_files("p1", ["t1", "flair"])
    result = s2s.synthesise(generator, s2s.read_subject(files, name="p1"), target="t2")
    assert (result.target, result.sources) == ("t2", ["t1", "flair"])
    assert result.image.shape == result.deviation.shape == SHAPE
    np.testing.assert_allclose(result.affine, AFFINE, atol=1e-6)
    outside = sum(nibabel.load(path).get_fdata() for path in files.values()) == 0
    assert not result.image[outside].any()
    assert result.image[~outside].std() > 0
    saved = result.save(tmp_path / "out" / "t2.nii.gz")
    assert [path.name for path in saved] == ["t2.nii.gz", "t2_sd.nii.gz"]
    for path, volume in zip(saved, (result.image, result.deviation), strict=True):
        image = nibabel.load(path)
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), volume)
        np.testing.assert_allclose(image.affine, AFFINE, atol=1e-6)
    result.save(saved[0], overwrite=True)
    saved[0].unlink()
    with pytest.raises(FileExistsError, match=r"t2_sd\.nii\.gz exists"):
        result.save(saved[0])
    assert not saved[0].exists()


def test_a_synthesis_fuses_what_each_source_says(generator, make_files) -> None:
    """With equal weights, the image and its deviation are mean and standard deviation over sources."""
    subject = s2s.read_subject(make_files("p1", ["t1", "t2", "flair"]))
    together = s2s.synthesise(generator, subject, target="t1")  # which is no source of itself
    assert together.sources == ["t2", "flair"]
    _, each = translations(generator, subject, ["t2", "flair"], "t1")
    mean = each.mean(0)
    assert together.image[together.image > 0].mean() == pytest.approx(float(mean[mean > 0].mean()), rel=1e-4)
    assert together.deviation.max() == pytest.approx(float(each.std(0, correction=0).max()), rel=1e-4)


def test_differentiation_is_the_mean_error_over_sources(generator, make_files) -> None:
    subject = s2s.read_subject(make_files("p1", ["t1", "t2", "flair"]))
    maps = s2s.differentiate(generator, subject, targets=["t2"], include_self=False)
    assert list(maps.maps) == ["t2"]
    assert maps["t2"].shape == SHAPE
    truth, each = translations(generator, subject, ["t1", "flair"], "t2")
    expected = (each - truth).abs().mean(0)
    # The voxels are those of the cropped and reoriented image, and 0 elsewhere.
    assert maps["t2"].sum() == pytest.approx(float(expected.sum()), rel=1e-4)
    assert maps["t2"].max() == pytest.approx(float(expected.max()), rel=1e-5)


def test_maps_are_saved_once(generator, make_files, tmp_path) -> None:
    maps = s2s.differentiate(generator, s2s.read_subject(make_files("p1", ["t1", "t2"])))
    paths = maps.save(tmp_path / "maps")
    assert [path.name for path in paths] == ["t1_differentiation.nii.gz", "t2_differentiation.nii.gz"]
    np.testing.assert_array_equal(nibabel.load(paths[1]).get_fdata(dtype=np.float32), maps["t2"])
    with pytest.raises(FileExistsError, match="t1_differentiation"):
        maps.save(tmp_path / "maps")


def test_ranks_sequences(generator, make_files) -> None:
    subjects = [s2s.read_subject(make_files(f"p{k}", seed=k), name=f"p{k}") for k in range(3)]
    subjects.append(s2s.read_subject(make_files("p4", ["t1", "t2"], seed=4), name="p4"))
    ranking = s2s.rank(generator, subjects, samples=50, progress=False)
    pairs = list(itertools.permutations(SEQUENCES, 2))
    assert len(ranking.measurements) == 3 * len(pairs) + 2
    # Eq. 4 by hand: z of the pair's mean among all rows, for PSNR and SSIM.
    z = 0
    for measure in ("psnr_foreground", "ssim_foreground"):
        values = ranking.measurements[measure]
        means = ranking.measurements.groupby(["source", "target"])[measure].mean()
        z = z + (means - values.mean()) / values.std(ddof=0)
    assert ranking.adjacency.loc["t1", "flair"] == pytest.approx(z["t1", "flair"])
    for row in ranking.table.itertuples():
        assert row.c_t == pytest.approx(z[row.sequence].sum() / 4)
        assert row.c_d == pytest.approx(-z[:, row.sequence].sum() / 4)
        assert row.c_t_low <= row.c_t_high
    assert ranking.plot().axes
    pd.testing.assert_frame_equal(s2s.rank(generator, subjects, samples=50, progress=False).table, ranking.table)


def test_one_subject_has_scores_without_intervals(generator, make_files) -> None:
    ranking = s2s.rank(generator, [s2s.read_subject(make_files("p1"))], progress=False)
    assert list(ranking.table.columns) == ["sequence", "c_t", "rank_t", "c_d", "rank_d"]
    assert ranking.plot().axes


def test_mistakes(generator, make_files, tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Subject 'p1': the t1 file .*nowhere.nii does not exist"):
        s2s.read_subject({"t1": tmp_path / "nowhere.nii"}, name="p1")
    subject = s2s.read_subject(make_files("p1", ["t1"]), name="p1")
    with pytest.raises(ValueError, match="swi"):
        s2s.synthesise(generator, subject, target="swi")
    with pytest.raises(ValueError, match="'p1' has no sequence from which t1 could be synthesised; give one of t1gd"):
        s2s.synthesise(generator, subject, target="t1")
    with pytest.raises(ValueError, match="'p1' has t1; M_d needs two sequences"):
        s2s.differentiate(generator, subject)
    with pytest.raises(ValueError, match="the target t2 among them"):
        s2s.differentiate(generator, s2s.read_subject(make_files("p2", ["t1", "flair"])), targets=["t2"])
    with pytest.raises(ValueError, match="No subject has two sequences"):
        s2s.rank(generator, [subject], progress=False)
    (tmp_path / "text.nii.gz").write_text("no image")
    with pytest.raises(ValueError, match=r"1 subject\(s\) failed, the others are done:\n  p3: "):
        s2s.rank(generator, [{"subject": "p3", "t1": tmp_path / "text.nii.gz"}], progress=False)
