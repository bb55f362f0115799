# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Training, validation and inference of the generators' bundles see the same: whole slices of the foreground."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch

from seq2seq_mri.transforms.slice_stack import slice_stacks

# Half precision on values up to 1, and what it makes of interpolated ones.
TOLERANCE = 2**-11


def inference_image(runs, entry: dict, tmp_path, write_datalist) -> torch.Tensor:
    """Return what the network of inference gets of a subject, ``[ΣT, X, Y, Z]``."""
    workflow = runs.workflow(
        "inference", datalist=write_datalist(entry), output_dir=str(tmp_path), checkpoint=str(runs.weights)
    )
    return workflow.parser.get_parsed_content("preprocessing")(entry)["image"].as_tensor()


def available_only(entry: dict) -> dict:
    return {key: value for key, value in entry.items() if key not in ("withheld", "unique", "lesion")}


def test_training_sees_slices_of_inference(generator_runs, tmp_path, write_datalist) -> None:
    workflow = generator_runs.workflow("train", output_dir=str(tmp_path), num_workers=0)
    dataset = workflow.parser.get_parsed_content("train#dataset")
    workflow.parser.get_parsed_content("train#preprocessing").transforms[1].prob = 0.0  # the flip
    subjects = len(generator_runs.datalist["training"])
    for index in range(len(dataset)):
        sample = dataset[index]
        entry = available_only(generator_runs.subject(index % subjects, section="training"))
        assert sample["subject"] == entry["subject"]
        image = inference_image(generator_runs, entry, tmp_path, write_datalist)
        stacks = slice_stacks(image, range(image.shape[-1]), 3).permute(0, 1, 3, 4, 2)
        assert sample["image"].shape == stacks.shape[1:]
        assert float((stacks - sample["image"].float()).abs().amax(dim=(1, 2, 3, 4)).min()) <= TOLERANCE


def enlarged(entry: dict, folder, margins: tuple[tuple[int, int], ...]) -> dict:
    """Write a subject's images with more background around them."""
    result = dict(entry)
    for name in ("t1", "t1gd", "t2", "flair"):
        image = nibabel.load(entry[name])
        affine = image.affine.copy()
        affine[:3, 3] -= affine[:3, :3] @ [before for before, _ in margins]
        voxels = np.pad(np.asarray(image.dataobj), margins)
        result[name] = str(folder / f"{name}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(voxels, affine), result[name])
    return result


def test_background_around_a_subject_changes_nothing(runs, tmp_path, write_datalist) -> None:
    entry = available_only(runs.subject(0))
    more = enlarged(entry, tmp_path, ((7, 2), (0, 9), (4, 5)))
    volumes = []
    for name, given in (("plain", entry), ("more", more)):
        given = {key: value for key, value in given.items() if key != "t1gd"}
        runs.infer(tmp_path / name, datalist=write_datalist(given))
        (path,) = (tmp_path / name).rglob("*_t1gd.nii.gz")
        volumes.append(np.asarray(nibabel.load(path).dataobj))
    assert volumes[0].any()
    size = volumes[0].shape
    np.testing.assert_array_equal(volumes[1][7 : 7 + size[0], : size[1], 4 : 4 + size[2]], volumes[0])


@pytest.mark.parametrize("bundle", ["seq2seq_brats", "seq2seq_breast"])
def test_slices_can_be_halved_four_times(repository, bundle) -> None:
    """As deep as networks and discriminators go; and the breast's are those of its volume."""
    content = json.loads((repository / "bundles" / bundle / "configs" / "train.json").read_text())
    assert all(size % 16 == 0 for size in content["slice_size"])
    assert content.get("volume_size", content["slice_size"])[:2] == content["slice_size"]
