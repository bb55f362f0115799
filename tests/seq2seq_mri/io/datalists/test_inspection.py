# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What is found out about images, and every problem that an image can have."""

from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest

from seq2seq_mri.io.datalists.image_checks import inspect_image
from seq2seq_mri.io.datalists.inspection import datalist_table, inspect_subject
from seq2seq_mri.io.datalists.scan import FoundSubject

BRATS = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}


def volume(shape=(7, 6, 5), seed=0):
    return np.random.default_rng(seed).uniform(1, 1000, shape).astype(np.float32)


def write(path, data, affine=None):
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine), path)
    return path


def problems_of(path, timepoints=1, check_voxels=True):
    grid, problems, _ = inspect_image(path, "p", timepoints, check_voxels=check_voxels)
    assert all(str(path) in problem for problem in problems)
    return grid, " / ".join(problems)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.uint8, np.float64])
def test_a_sound_image(tmp_path, ending, image_class, dtype):
    path = tmp_path / f"p{ending}"
    nib.save(image_class((volume() / 4).astype(dtype), np.diag([-1.0, 1.5, 3.0, 1.0])), path)
    grid, problems, notes = inspect_image(path, "p", check_voxels=True)
    assert (grid.shape, grid.spacing, grid.orientation) == ((7, 6, 5), (1.0, 1.5, 3.0), "LAS")
    assert str(grid) == "7 x 6 x 5, 1 x 1.5 x 3 mm"
    assert problems == notes == []


@pytest.mark.parametrize("check_voxels", [False, True])
@pytest.mark.parametrize("kept", [0, 3, 40, 400, -30])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_truncated_files_are_found_without_reading_voxels(tmp_path, kept, ending, check_voxels):
    path = write(tmp_path / f"p{ending}", volume((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:kept])
    _, problems = problems_of(path, check_voxels=check_voxels)
    assert "cannot be read as NIfTI" in problems or "corrupt or truncated" in problems or "truncated or" in problems


def test_damage_inside_a_gzip_file(tmp_path):
    path = write(tmp_path / "p.nii.gz", volume((20, 20, 20)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert "corrupt" in problems_of(path)[1]


def test_a_wrong_checksum_alone(tmp_path):
    path = write(tmp_path / "p.nii.gz", volume())
    content = path.read_bytes()
    path.write_bytes(content[:-8] + struct.pack("<I", 1) + content[-4:])
    assert "CRC check failed" in problems_of(path)[1]


def test_a_gzip_file_of_several_members_is_sound(tmp_path):
    path = write(tmp_path / "p.nii", volume((20, 20, 20)))
    content = path.read_bytes()
    compressed = tmp_path / "p.nii.gz"
    compressed.write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    assert problems_of(compressed, check_voxels=False)[1] == ""


@pytest.mark.parametrize(
    "content", [b"no image at all" * 100, gzip.compress(b"no image at all" * 100)], ids=["plain", "compressed"]
)
def test_not_nifti(tmp_path, content):
    path = tmp_path / "p.nii.gz"
    path.write_bytes(content)
    assert "cannot be read as NIfTI" in problems_of(path)[1]


@pytest.mark.parametrize(
    ("shape", "timepoints", "message"),
    [
        ((8, 8), 1, "2D (8 x 8) where 3D is expected"),
        ((8, 8, 1), 1, "2D (8 x 8 x 1) where 3D"),
        ((8, 1, 8), 1, "2D (8 x 1 x 8) where 3D"),
        ((4, 4, 4, 6), 1, "6 timepoints (4 x 4 x 4 x 6), the sequence table says 1"),
        ((4, 4, 4), 6, "1 timepoints (4 x 4 x 4), the sequence table says 6"),
        ((4, 4, 4, 2, 3), 6, "2 x 3 timepoints"),
        ((4, 4, 4, 1), 1, ""),
        ((4, 4, 4, 6), 6, ""),
        ((4, 4, 4, 1, 6), 6, ""),
        ((8, 8, 1, 6), 6, ""),
    ],
)
def test_dimensions(tmp_path, shape, timepoints, message):
    grid, problems = problems_of(write(tmp_path / "p.nii.gz", volume(shape)), timepoints)
    assert (message in problems) if message else (problems == "" and grid.shape == shape[:3])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    data = volume()
    data[3, 3, 3] = value
    path = write(tmp_path / "p.nii.gz", data)
    assert "1 voxels that are NaN or infinite" in problems_of(path)[1]
    assert problems_of(path, check_voxels=False)[1] == ""


@pytest.mark.parametrize(("value", "message"), [(0, "all zero"), (7, "constant (7 everywhere)")])
def test_constant_images(tmp_path, value, message):
    assert message in problems_of(write(tmp_path / "p.nii.gz", np.full((7, 6, 5), value, np.int16)))[1]


def test_coloured_and_complex_voxels(tmp_path):
    colour = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    assert "not grey values" in problems_of(write(tmp_path / "rgb.nii.gz", colour))[1]
    assert "not grey values" in problems_of(write(tmp_path / "c.nii.gz", volume().astype(np.complex64)))[1]


def test_an_affine_of_no_use(tmp_path):
    image = nib.Nifti1Image(volume(), np.eye(4))
    image.header["srow_x"] = np.nan
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), tmp_path / "p.nii.gz")
    grid, problems = problems_of(tmp_path / "p.nii.gz")
    assert grid is None
    assert "no usable voxel size" in problems


def test_notes_are_not_problems(tmp_path):
    image = nib.Nifti1Image(volume() - 500, np.eye(4))
    image.header.set_qform(None, 0)
    image.header.set_sform(None, 0)
    image = nib.Nifti1Image(image.dataobj, None, image.header)
    image.header["qform_code"] = image.header["sform_code"] = 0
    nib.save(image, tmp_path / "p.nii.gz")
    _, problems, notes = inspect_image(tmp_path / "p.nii.gz", "p", check_voxels=True)
    assert problems == []
    assert notes == ["the header does not say how the image is oriented", "negative values, which loading clips to 0"]


def subject(tmp_path, **affines):
    files = {name: [write(tmp_path / f"p_{name}.nii.gz", volume(), affine)] for name, affine in affines.items()}
    return FoundSubject("p", files)


def test_grids_that_differ_name_both_files(tmp_path):
    found = subject(tmp_path, t1=np.eye(4), t2=np.eye(4))
    found.files["flair"] = [write(tmp_path / "p_flair.nii.gz", volume((7, 6, 6)), np.diag([2.0, 1, 1, 1]))]
    report = inspect_subject(found, BRATS)
    (problem,) = report.problems
    assert problem.startswith(
        f"t1 and flair: {tmp_path / 'p_t1.nii.gz'} and {tmp_path / 'p_flair.nii.gz'} lie on different grids"
    )
    allowed = inspect_subject(found, BRATS, allow_different_grids=True)
    assert allowed.problems == []
    assert allowed.notes[0] == "no t1gd"
    assert problem == f"{allowed.notes[1]} --allow_different_grids keeps such subjects in the datalist."


@pytest.mark.parametrize(("shift", "differs"), [(0.0, False), (1e-4, False), (0.5, True)])
def test_grids_are_compared_by_position(tmp_path, shift, differs):
    moved = np.eye(4)
    moved[0, 3] = shift
    report = inspect_subject(subject(tmp_path, t1=np.eye(4), t2=moved), BRATS)
    assert bool(report.problems) == differs
    assert not differs or "a corner 0.5 mm apart" in report.problems[0]


def test_the_same_grid_in_another_orientation_is_no_problem(tmp_path):
    image = nib.Nifti1Image(volume(), np.diag([1.0, 2.0, 3.0, 1.0]))
    turned = image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]]))
    assert turned.shape != image.shape
    nib.save(image, tmp_path / "t1.nii.gz")
    nib.save(turned, tmp_path / "t2.nii.gz")
    files = {name: [tmp_path / f"{name}.nii.gz"] for name in ("t1", "t2")}
    report = inspect_subject(FoundSubject("p", files), BRATS)
    assert report.problems == []
    assert report.grids["t1"].orientation != report.grids["t2"].orientation


def test_masks_of_what_is_unique(tmp_path):
    found = subject(tmp_path, t1=None, t2=None)
    mask = np.zeros((7, 6, 5), np.uint8)
    found.unique["t1"] = [write(tmp_path / "empty.nii.gz", mask)]
    mask[3, 3, 3] = 1
    found.unique["t2"] = [write(tmp_path / "mask.nii.gz", mask)]
    report = inspect_subject(found, BRATS)
    # A mask without a voxel measures nothing.
    assert report.unique == {"t2": tmp_path / "mask.nii.gz"}
    assert report.problems == []
    (tmp_path / "mask.nii.gz").write_bytes(b"")
    assert inspect_subject(found, BRATS).problems[0].startswith("mask of t2: ")


def test_missing_and_doubled_sequences(tmp_path):
    found = subject(tmp_path, t1=None)
    found.files["t2"] = [tmp_path / "a_t2.nii", tmp_path / "b_t2.nii"]
    found.unique["t1"] = [tmp_path / "u.nii", tmp_path / "v.nii"]
    report = inspect_subject(found, BRATS)
    assert report.notes == ["no t1gd, flair"]
    assert report.problems == [
        f"mask of t1 found 2 times, keep one of {tmp_path / 'u.nii'}, {tmp_path / 'v.nii'}",
        f"t2 found 2 times, keep one of {tmp_path / 'a_t2.nii'}, {tmp_path / 'b_t2.nii'}",
    ]
    assert list(report.files) == ["t1"]


def test_no_sequence_at_all():
    assert inspect_subject(FoundSubject("p"), BRATS).problems == ["no sequence available"]


def test_table(tmp_path):
    report = inspect_subject(subject(tmp_path, t1=np.eye(4), t2=np.eye(4)), BRATS)
    entry = {"subject": "p", "t1": "a", "withheld": {"t2": "b"}}
    lines = datalist_table(BRATS, {"training": [entry], "testing": []}, [report], ["a remark"]).splitlines()
    assert lines[0].split() == ["training", "(1)", "testing", "(0)"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:6]}
    assert rows["t1"] == ["1", "0", "0", "0", "0", "0"]
    assert rows["t2"] == ["0", "0", "1", "0", "0", "0"]
    assert rows["flair"] == ["0", "1", "0", "0", "0", "0"]
    text = "\n".join(lines)
    assert "a remark" in text
    assert "7 x 6 x 5, 1 x 1 x 1 mm" in text
    assert "Problems: none" in text
    assert "p: no t1gd, flair" in text
