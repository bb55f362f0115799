# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What is found out about images, and every problem that an image can have."""

from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
from dicom_writer import write_classic

from seq2seq_mri.io.datalists.inspection import Checks, datalist_table, inspect_series, inspect_subject
from seq2seq_mri.io.datalists.scan import FoundSubject

BRATS = {"t1": 1, "t1gd": 1, "t2": 1, "flair": 1}
READ = Checks(check_images=True)


def volume(shape=(7, 6, 5), seed=0):
    return np.random.default_rng(seed).uniform(1, 1000, shape).astype(np.float32)


def write(path, data, affine=None):
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine), path)
    return path


def problems_of(path, timepoints=1, checks=READ):
    grid, problems, _ = inspect_series(path, "p", timepoints, checks)
    assert (grid is None) == bool(problems)
    assert all(str(path) in problem for problem in problems)
    return " / ".join(problems)


@pytest.mark.parametrize("checks", [READ, Checks()])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize(("image_class", "dtype"), [(nib.Nifti1Image, np.int16), (nib.Nifti2Image, np.float64)])
def test_a_sound_image(tmp_path, ending, image_class, dtype, checks):
    path = tmp_path / f"p{ending}"
    affine = np.diag([-1.0, 1.5, 3.0, 1.0])
    nib.save(image_class((volume() / 4).astype(dtype), affine), path)
    grid, problems, notes = inspect_series(path, "p", 1, checks)
    assert grid.voxels.shape == (1, 7, 6, 5)
    np.testing.assert_array_equal(grid.affine, affine)
    assert problems == notes == []


@pytest.mark.parametrize("kept", [0, 3, 40, 400, -30])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_truncated_files_are_found_without_reading_voxels(tmp_path, kept, ending):
    path = write(tmp_path / f"p{ending}", volume((20, 20, 20)))
    path.write_bytes(path.read_bytes()[:kept])
    assert "corrupt" in problems_of(path, checks=Checks())


def test_the_end_of_a_gzip_file(tmp_path):
    path = write(tmp_path / "p.nii.gz", volume((20, 20, 20)))
    content = path.read_bytes()
    path.write_bytes(content[:-8] + struct.pack("<I", 1) + content[-4:])
    assert "CRC check failed" in problems_of(path)
    # Several members are no damage.
    content = gzip.decompress(content)
    path.write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]))
    assert problems_of(path, checks=Checks()) == ""


@pytest.mark.parametrize(
    ("shape", "timepoints", "message"),
    [
        ((8, 8), 1, "is 2D, of shape (8, 8); a 3D volume is expected"),
        ((8, 8, 1), 1, "2D (8 x 8 x 1) where 3D"),
        ((8, 1, 8), 1, "2D (8 x 1 x 8) where 3D"),
        ((4, 4, 4, 6), 1, "6 timepoints ({path}), the sequence table says 1"),
        ((4, 4, 4), 6, "1 timepoints ({path}), the sequence table says 6"),
        ((4, 4, 4, 7), 6, "7 timepoints ({path}), the sequence table says 6; --allow_other_timepoints keeps"),
        ((4, 4, 4, 2, 3), 6, "has shape (4, 4, 4, 2, 3); a 3D volume or a 4D series is expected"),
        ((4, 4, 4, 1), 1, ""),
        ((4, 4, 4, 6), 6, ""),
        ((4, 4, 4, 1, 6), 6, ""),
        ((8, 8, 1, 6), 6, ""),
    ],
)
def test_dimensions(tmp_path, shape, timepoints, message):
    path = write(tmp_path / "p.nii.gz", volume(shape))
    found = problems_of(path, timepoints, Checks())
    assert message.format(path=path) in found
    assert bool(found) == bool(message)


def test_headers_of_no_use(tmp_path):
    for content in (b"no image at all" * 100, gzip.compress(b"no image at all" * 100)):
        (tmp_path / "p.nii.gz").write_bytes(content)
        assert "is not a NIfTI file, or is corrupt" in problems_of(tmp_path / "p.nii.gz", checks=Checks())
    colour = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    for voxels in (colour, volume().astype(np.complex64)):
        assert "not grey values" in problems_of(write(tmp_path / "p.nii.gz", voxels), checks=Checks())
    image = nib.Nifti1Image(volume(), np.eye(4))
    image.header["srow_x"] = np.nan
    nib.save(nib.Nifti1Image(image.dataobj, None, image.header), tmp_path / "p.nii.gz")
    assert "affine that is singular or not finite" in problems_of(tmp_path / "p.nii.gz", checks=Checks())


def test_notes_are_not_problems(tmp_path):
    image = nib.Nifti1Image(volume() - 500, np.eye(4))
    image.header.set_qform(None, 0)
    image.header.set_sform(None, 0)
    image = nib.Nifti1Image(image.dataobj, None, image.header)
    image.header["qform_code"] = image.header["sform_code"] = 0
    nib.save(image, tmp_path / "p.nii.gz")
    _, problems, notes = inspect_series(tmp_path / "p.nii.gz", "p", 1, READ)
    assert problems == []
    assert notes == ["negative values, which loading clips to 0", "the header does not say how the image is oriented"]


def test_series_of_several_files(tmp_path):
    frames = tuple(write(tmp_path / f"{number}.nii.gz", volume(seed=number)) for number in range(3))
    grid, problems, notes = inspect_series(frames, "p", 3, READ)
    assert (grid.voxels.shape[1:], problems, notes) == ((7, 6, 5), [], [])
    moved = (*frames[:2], write(tmp_path / "moved.nii.gz", volume(), 2 * np.eye(4)))
    (problem,) = inspect_series(moved, "p", 3, Checks())[1]
    assert "0.nii.gz and " in problem
    assert "lie on different grids" in problem
    several = (*frames[:2], write(tmp_path / "4d.nii.gz", volume((7, 6, 5, 2))))
    assert inspect_series(several, "p", 3, Checks())[1] == [
        f"2 timepoints ({tmp_path / '4d.nii.gz'}), a file of several has to have one"
    ]
    frames[1].write_bytes(b"")
    assert "1.nii.gz" in inspect_series(frames, "p", 3, Checks())[1][0]


@pytest.mark.parametrize("checks", [READ, Checks()])
def test_series_of_dicom_files(tmp_path, checks):
    voxels = np.random.default_rng(0).integers(1, 1000, (3, 6, 5, 4)).astype(np.int16)
    path = write_classic(tmp_path / "dce", voxels, np.diag([1.0, 1.5, 2.0, 1.0]), times=(0, 60, 90))[0]
    grid, problems, notes = inspect_series(tmp_path / "dce", "p", 3, checks)
    assert (grid.voxels.shape[1:], nib.aff2axcodes(grid.affine)) == ((6, 5, 4), ("R", "A", "S"))
    assert problems == notes == []
    assert problems_of(tmp_path / "dce") == f"3 timepoints ({tmp_path / 'dce'}), the sequence table says 1"
    path.write_bytes(path.read_bytes()[:-60])
    found = problems_of(tmp_path / "dce", 3, checks)
    assert found.startswith(f"{path} is corrupt or truncated" if checks is READ else "")
    assert bool(found) == (checks is READ)


def subject(tmp_path, **affines):
    files = {name: [write(tmp_path / f"p_{name}.nii.gz", volume(), affine)] for name, affine in affines.items()}
    return FoundSubject("p", files)


def test_grids_that_differ_name_both_files(tmp_path):
    found = subject(tmp_path, t1=np.eye(4), t2=np.eye(4))
    found.files["flair"] = [write(tmp_path / "p_flair.nii.gz", volume((7, 6, 6)), np.diag([2.0, 1, 1, 1]))]
    (problem,) = inspect_subject(found, BRATS, Checks()).problems
    assert problem.startswith(
        f"t1 and flair: {tmp_path / 'p_t1.nii.gz'} and {tmp_path / 'p_flair.nii.gz'} lie on different grids"
    )
    allowed = inspect_subject(found, BRATS, Checks(allow_different_grids=True))
    assert allowed.problems == []
    assert allowed.notes[0] == "no t1gd"
    assert problem == f"{allowed.notes[1]} --allow_different_grids keeps such subjects in the datalist."


def test_masks_of_what_is_unique(tmp_path):
    found = subject(tmp_path, t1=None, t2=None)
    mask = np.zeros((7, 6, 5), np.uint8)
    found.unique["t1"] = [write(tmp_path / "empty.nii.gz", mask)]
    mask[3, 3, 3] = 1
    found.unique["t2"] = [write(tmp_path / "mask.nii.gz", mask)]
    report = inspect_subject(found, BRATS, Checks())
    # A mask without a voxel measures nothing.
    assert report.unique == {"t2": tmp_path / "mask.nii.gz"}
    assert report.problems == []
    (tmp_path / "mask.nii.gz").write_bytes(b"")
    assert inspect_subject(found, BRATS, Checks()).problems[0].startswith("mask of t2: ")


def test_missing_and_doubled_sequences(tmp_path):
    found = subject(tmp_path, t1=None)
    found.files["t2"] = [tmp_path / "a_t2.nii", tmp_path / "b_t2.nii"]
    found.unique["t1"] = [tmp_path / "u.nii", tmp_path / "v.nii"]
    report = inspect_subject(found, BRATS, Checks())
    assert report.notes == ["no t1gd, flair"]
    assert report.problems == [
        f"mask of t1 found 2 times, keep one of {tmp_path / 'u.nii'}, {tmp_path / 'v.nii'}",
        f"t2 found 2 times, keep one of {tmp_path / 'a_t2.nii'}, {tmp_path / 'b_t2.nii'}",
    ]
    assert list(report.files) == ["t1"]
    assert inspect_subject(FoundSubject("p"), BRATS, Checks()).problems == ["no sequence available"]


def test_table(tmp_path):
    report = inspect_subject(subject(tmp_path, t1=np.eye(4), t2=np.eye(4)), BRATS, Checks())
    entry = {"subject": "p", "t1": "a", "withheld": {"t2": "b"}}
    lines = datalist_table(BRATS, {"training": [entry], "testing": []}, [report], ["a remark"]).splitlines()
    assert lines[0].split() == ["training", "(1)", "testing", "(0)"]
    rows = {line.split()[0]: line.split()[1:] for line in lines[2:6]}
    assert rows["t1"] == ["1", "0", "0", "0", "0", "0"]
    assert rows["t2"] == ["0", "0", "1", "0", "0", "0"]
    assert rows["flair"] == ["0", "1", "0", "0", "0", "0"]
    text = "\n".join(lines)
    for expected in ("a remark", "7 x 6 x 5, 1 x 1 x 1 mm", "RAS  ", "Problems: none", "p: no t1gd, flair"):
        assert expected in text
