# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What is asked of a method, and measured, compared with direct computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor

from seq2seq_mri.evaluation.image_quality.lpips import SliceLPIPS
from seq2seq_studies.comparison.method_evaluation import evaluate_subjects, lpips_network

NO_LPIPS = SliceLPIPS("none")
SEQUENCES = {"t1": 1, "dce": 2, "t2": 1}


def sample(available: str = "t1 t2", measured: str = "t1 dce t2") -> dict:
    image = torch.rand(4, 12, 13, 14, generator=torch.Generator().manual_seed(0))
    image[:, :3] = 0
    there = {key: torch.tensor([name in names.split() for name in SEQUENCES]) for key, names in
             (("available", available), ("measured", measured))}  # fmt: skip
    return {"subject": "p1", "image": image, **there}


def test_withheld_sequences_are_compared_with_but_never_given() -> None:
    asked, foregrounds = [], []

    def complete(image: torch.Tensor, sources) -> torch.Tensor:
        asked.append(tuple(sources))
        return torch.zeros_like(image)

    def distance(prediction, truth, foreground) -> float:
        foregrounds.append(foreground)
        return 0.25

    rows, views = evaluate_subjects(complete, [sample()], SEQUENCES, distance)
    assert all(foreground[3:].any() and not foreground[:3].any() for foreground in foregrounds)
    assert {row["lpips"] for row in rows} == {0.25}
    assert {name for sources in asked for name in sources} == {"t1", "t2"}
    pairs = [(row["setting"], row["sources"], row["target"]) for row in rows]
    assert pairs == [
        ("one_source", "t1", "dce"), ("one_source", "t1", "t2"),
        ("one_source", "t2", "t1"), ("one_source", "t2", "dce"),
        ("one_missing", "t2", "t1"), ("one_missing", "t1+t2", "dce"), ("one_missing", "t1", "t2"),
    ]  # fmt: skip
    assert set(views) == {"t1", "dce", "t2", "synthesised_t1", "synthesised_dce", "synthesised_t2"}


def test_measures_equal_their_definitions() -> None:
    subject = sample("t1 t2", "t1 t2")
    noise = 0.1 * torch.rand(4, 12, 13, 14)
    rows, _ = evaluate_subjects(lambda image, _: image + noise, [subject], SEQUENCES, NO_LPIPS)
    row = next(row for row in rows if row["target"] == "t2")
    truth = subject["image"][3].double().numpy()
    made = (subject["image"][3] + noise[3]).clamp(0, 1).double().numpy()
    foreground = torch.maximum(subject["image"][0], subject["image"][3]).numpy() > 0
    assert row["psnr"] == pytest.approx(-10 * np.log10(np.mean((made - truth) ** 2)), abs=1e-4)
    assert row["psnr_foreground"] == pytest.approx(-10 * np.log10(np.mean((made - truth)[foreground] ** 2)), abs=1e-4)
    assert np.isnan(row["lpips"])
    assert row["data_range"] == 1.0


def test_errors_name_the_subject() -> None:
    with pytest.raises(ValueError, match="Subject p1, dce from t1: The prediction has NaN"):
        evaluate_subjects(lambda image, _: image * float("nan"), [sample()], SEQUENCES, NO_LPIPS)
    with pytest.raises(ValueError, match="No test subject has two measured sequences"):
        evaluate_subjects(lambda image, _: image, [sample("t1", "t1")], SEQUENCES, NO_LPIPS)


def test_automatic_lpips_takes_what_is_there(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert lpips_network("auto") == "none"
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth").touch()
    assert lpips_network("auto") == "squeeze"
    assert lpips_network("alex") == "alex"


def test_measures_do_not_depend_on_padding() -> None:
    """An image of a file of 12 x 13 x 14 voxels, as it is, and padded to 16 x 13 x 20."""
    plain = sample("t1 t2", "t1 t2")
    padded = dict(plain, image=MetaTensor(F.pad(torch.as_tensor(plain["image"]), (2, 4, 0, 0, 3, 1))))
    padded["image"].affine[:3, 3] = torch.tensor([-3.0, 0.0, -2.0])
    padded["image"].meta |= {"original_affine": torch.eye(4), "spatial_shape": [12, 13, 14]}
    found = [evaluate_subjects(lambda image, _: 0.8 * image, [one], SEQUENCES, NO_LPIPS)[0] for one in (plain, padded)]
    for one, other in zip(*found, strict=True):
        assert other == pytest.approx(one, nan_ok=True)
