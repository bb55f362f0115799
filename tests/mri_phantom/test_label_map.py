# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Anatomy from a label map: a ball of white matter in a shell of cortex, with a ventricle, in fluid and a skull."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from mri_phantom.brain import SimulateBrain
from mri_phantom.label_map import LabelMap

# the phantom's coordinates of the top of the cerebrum
TOP = np.array([0.0, -15.0, 70.0])
RADIUS = 50.0


@pytest.fixture(params=["RAS", "LPS"])
def label_map(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The file of a map in voxels of 2 × 2.5 × 3 mm, whose ventricle is on the right."""
    spacing = np.array([2.0, 2.5, 3.0])
    points = np.stack(np.meshgrid(*(np.arange(size) for size in (80, 64, 53)), indexing="ij"), axis=-1) * spacing
    centre = np.array([80.0, 80.0, 78.0])
    distance = np.linalg.norm(points - centre, axis=-1)
    labels = np.zeros(distance.shape, dtype=np.int16)
    labels[distance < 72] = 507  # the head
    labels[distance < 62] = 24  # fluid, most of it too far away to be the brain's
    labels[distance <= RADIUS] = 3
    labels[distance < RADIUS - 8] = 2
    labels[np.linalg.norm(points - centre - [15, 0, 0], axis=-1) < 10] = 43
    labels[np.linalg.norm(points - centre + [0, 25, 0], axis=-1) < 6] = 999  # unknown, enclosed by tissue
    affine = np.diag([*spacing, 1.0])
    image = nibabel.Nifti1Image(labels, affine)
    if request.param == "LPS":
        image = image.as_reoriented([[0, -1], [1, -1], [2, 1]])
    path = tmp_path / "maps" / "a.nii.gz"
    path.parent.mkdir()
    nibabel.save(image, path)
    return path


def test_tissues_lie_where_the_map_has_them(label_map: Path) -> None:
    anatomy = LabelMap(label_map)
    middle = TOP - [0, 0, RADIUS]
    offsets = {"white_matter": (-15, 0, 0), "csf": (15, 0, 0), "grey_matter": (0, 46, 0)}
    points = (middle + np.array([*offsets.values(), (0, -25, 0), (0, -53, 0), (0, 58, 0)])).T.astype(np.float32)
    found = anatomy.anatomy(points[:, :5], width=2.0)
    assert [found.fractions.names[index] for index in found.fractions.values.argmax(axis=0)] == [*offsets, "csf", "csf"]
    np.testing.assert_allclose(found.fractions.values.sum(axis=0), 1, atol=1e-5)
    # into the brain with 3 to 5 mm of fluid, into the tissue, and into the ventricle, to a voxel
    np.testing.assert_allclose(anatomy.surface(points)[2:], [7.5, 28.5, 0.5, -4.5], atol=2.5)
    np.testing.assert_allclose(found.depth[[2, 4]], [4, -3], atol=2.5)
    np.testing.assert_allclose(found.ventricle[:3], [-20, 8, -38.4], atol=2.5)


def test_cohort_has_the_anatomy_of_the_maps(label_map: Path, tmp_path: Path) -> None:
    grid = {"shape": (48, 60, 50), "spacing": 3.2, "splits": (2, 0, 0), "healthy": 0.5, "missing": 0}
    path = SimulateBrain(tmp_path / "cohort", label_maps=label_map.parent, **grid)()
    entries = json.loads(Path(path).read_text(encoding="utf-8"))["training"]
    assert sorted("lesion" in entry for entry in entries) == [False, True]
    for entry in entries:
        brain = nibabel.load(tmp_path / "cohort" / entry["t1"]).get_fdata() > 0
        volume = brain.sum() * 3.2**3 / (4 / 3 * np.pi * (RADIUS + 5) ** 3)
        assert 0.6 < volume < 1.1, "a ball in 5 mm of fluid, shrunk by up to 12 %"
        for axis in range(3):
            assert not np.take(brain, [0, -1], axis).any()
    healthy = next(entry for entry in entries if "lesion" not in entry)
    t1, t2 = (nibabel.load(tmp_path / "cohort" / healthy[name]).get_fdata() for name in ("t1", "t2"))
    bright = t1 > np.percentile(t1[t1 > 0], 80)
    assert np.median(t2[bright]) < np.median(t2[(t1 > 0) & ~bright]), "white matter is bright in T1 and dark in T2"


def test_maps_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"label_maps is '\S+'; give a folder with label maps"):
        SimulateBrain(tmp_path / "cohort", label_maps=tmp_path)()
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), dtype=np.int16), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(ValueError, match=r"a\.nii has no cerebrum in FreeSurfer's numbers"):
        LabelMap(tmp_path / "a.nii")
    (tmp_path / "b.nii").write_text("nothing of the kind")
    with pytest.raises(ValueError, match=r"b\.nii cannot be read as NIfTI"):
        LabelMap(tmp_path / "b.nii")
