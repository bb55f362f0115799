# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from torch.utils.data import DataLoader

from seq2seq_mri.data.prepared_subjects import PreparedSubjects

SHAPE = (5, 4, 3)
PARAMETERS = {"spacing": (1.0, 1.0, 2.0), "generator": "abc"}


class Transform:
    """Makes images of files that hold the seed of their values, and counts; a file with a text is broken."""

    def __init__(self, shape: tuple[int, ...] = SHAPE, error: type[Exception] = ValueError, **changed: Any) -> None:
        self.shape, self.error, self.changed = shape, error, changed
        self.called: list[str] = []

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        self.called.append(entry["subject"])
        text = Path(entry["t1"]).read_text()
        if not text.isdigit():
            raise self.error(f"{entry['t1']} is no image.")
        torch.rand(3)  # a network that is built draws random numbers
        generator = torch.Generator().manual_seed(int(text))
        image, maps = torch.rand(2, 3, *self.shape, generator=generator)
        return {
            "image": MetaTensor(image),
            "differentiation": MetaTensor(maps),
            "available": torch.tensor([True, "t2" in entry]),
            "label": 7,
            **self.changed,
        }


@pytest.fixture
def entries(tmp_path: Path) -> list[dict[str, Any]]:
    """Three subjects, the second without t2, in an order that is not that of their names."""
    made: list[dict[str, Any]] = []
    for index, subject in enumerate(("p3", "p1", "p2")):
        (tmp_path / "cohort" / subject).mkdir(parents=True)
        entry = {"subject": subject, "patient": "a patient", "label": {"mgmt": index % 2}}
        for name in ("t1", "t2") if index != 1 else ("t1",):
            entry[name] = write(tmp_path / "cohort" / subject / f"{name}.nii.gz", str(index))
        made.append(entry)
    return made


def write(path: str | Path, text: str, time: int = 1_000_000_000) -> str:
    """Write a file of a known age."""
    Path(path).write_text(text)
    os.utime(path, (time, time))
    return str(path)


def prepare(entries, folder, transform=None, parameters=PARAMETERS, **options) -> PreparedSubjects:
    return PreparedSubjects(entries, transform or Transform(), folder, parameters, progress=False, **options)


def npy_bytes() -> bytes:
    """An array that is no archive of arrays."""
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def forbidden(entry: Any) -> Any:
    raise AssertionError(f"{entry['subject']} was prepared again")


def test_samples_are_those_of_the_transform(entries, tmp_path):
    prepared = prepare(entries, tmp_path / "new" / "folder")
    assert prepared.subjects == ["p3", "p1", "p2"]
    assert len(prepared) == 3
    for entry, sample in zip(entries, prepared, strict=True):
        expected = Transform()(entry)
        assert sample.keys() == {"subject", "image", "differentiation", "available"}
        assert sample["subject"] == entry["subject"]
        for key in ("image", "differentiation"):
            assert type(sample[key]) is torch.Tensor
            assert sample[key].dtype == torch.float32
            assert torch.equal(sample[key], expected[key].as_tensor().half().float())
        assert sample["available"].dtype == torch.bool
        assert torch.equal(sample["available"], expected["available"])
    assert sorted(path.name for path in prepared.folder.iterdir()) == ["p1.npz", "p2.npz", "p3.npz"]


def test_are_prepared_once(entries, tmp_path):
    first = prepare(entries, tmp_path / "prepared")
    second = prepare(entries, tmp_path / "prepared", forbidden)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one["image"], other["image"])


def test_order_labels_and_parts_of_a_cohort_make_no_difference(entries, tmp_path):
    first = prepare(entries[:2], tmp_path / "prepared")
    transform = Transform()
    others = [{**entry, "label": 5, "patient": "another"} for entry in reversed(entries)]
    second = prepare(others, tmp_path / "prepared", transform)
    assert transform.called == ["p2"]
    assert second.subjects == ["p2", "p1", "p3"]
    assert torch.equal(second[2]["image"], first[0]["image"])
    assert len(prepare(entries[1:2], tmp_path / "prepared", forbidden)) == 1


def test_a_moved_cohort_is_known(entries, tmp_path):
    prepare(entries, tmp_path / "prepared")
    (tmp_path / "cohort").rename(tmp_path / "elsewhere")
    moved = [
        {
            key: value.replace(str(tmp_path / "cohort"), str(tmp_path / "elsewhere")) if key in ("t1", "t2") else value
            for key, value in entry.items()
        }
        for entry in entries
    ]
    prepare(moved, tmp_path / "prepared", forbidden)


@pytest.mark.parametrize("change", ["size", "time", "name", "sequence", "withheld"])
def test_a_subject_whose_files_change_is_prepared_again_alone(entries, tmp_path, change):
    before = prepare(entries, tmp_path / "prepared")[0]["image"]
    entry = entries[0]
    if change == "size":
        write(entry["t1"], "12")
    elif change == "time":
        write(entry["t1"], "5", time=1_000_000_009)
    elif change == "name":
        entry["t1"] = write(entry["t1"].replace("t1", "t1_new"), "5")
    elif change == "sequence":
        del entry["t2"]
    else:
        entry["withheld"] = {"t2": entry.pop("t2")}
    transform = Transform()
    prepared = prepare(entries, tmp_path / "prepared", transform)
    assert transform.called == ["p3"]
    assert torch.equal(prepared[0]["image"], before) == (change in ("sequence", "withheld"))
    assert bool(prepared[0]["available"][1]) == (change in ("size", "time", "name"))


def test_files_in_lists_and_folders_are_looked_at(entries, tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    frames = [write(series / f"{index}.dcm", "0") for index in range(2)]
    given = [{**entries[0], "dce": frames}, {**entries[1], "dwi": str(series)}, {**entries[2], "t2": None}]
    prepare(given, tmp_path / "prepared")
    prepare(given, tmp_path / "prepared", forbidden)
    write(frames[1], "00")
    transform = Transform()
    prepare(given, tmp_path / "prepared", transform)
    assert transform.called == ["p3", "p1"]


@pytest.mark.parametrize(
    ("changed", "different"),
    [
        ({"parameters": {**PARAMETERS, "generator": "abd"}}, "generator"),
        ({"parameters": {"spacing": [1, 1, 2]}}, "generator"),
        ({"parameters": {**PARAMETERS, "spacing": 1.0, "more": None, "targets": ["t1"]}}, "spacing, targets"),
        ({"differentiation": False}, "differentiation"),
    ],
)
def test_other_parameters_are_refused_or_replaced(entries, tmp_path, changed, different):
    folder = tmp_path / "prepared"
    prepare(entries[:1], folder)
    with pytest.raises(ValueError, match=rf"p3.npz was prepared otherwise \(different: {different}\)"):
        prepare(entries, folder, forbidden, **changed)
    assert len(list(folder.iterdir())) == 1
    transform = Transform(shape=(2, 2, 2))
    replaced = prepare(entries, folder, transform, **changed, overwrite=True)
    assert transform.called == ["p3", "p1", "p2"]
    assert replaced[0]["image"].shape == (3, 2, 2, 2)
    prepare(entries, folder, forbidden, **changed)


def test_tuples_are_written_as_lists(entries, tmp_path):
    prepare(entries, tmp_path / "prepared")
    prepare(entries, tmp_path / "prepared", forbidden, {"spacing": [1.0, 1.0, 2.0], "generator": "abc"})


def test_without_differentiation(entries, tmp_path):
    prepared = prepare(entries, tmp_path / "prepared", differentiation=False)
    assert prepared[0].keys() == {"subject", "image", "available"}


@pytest.mark.parametrize("error", [ValueError, OSError])
@pytest.mark.parametrize("composed", [True, False])
def test_broken_subjects_are_named_and_stop_no_other(entries, tmp_path, error, composed):
    """MONAI's Compose wraps errors, which is undone."""
    folder = tmp_path / "prepared"
    for entry in entries[:2]:
        write(entry["t1"], "broken")
    transform = Transform(error=error)
    with pytest.raises(ValueError, match=r"2 subject\(s\) cannot be prepared, the others are; ") as caught:
        prepare(entries, folder, Compose([transform]) if composed else transform)
    lines = str(caught.value).splitlines()[1:]
    assert lines == [f"  {entry['subject']}: {entry['t1']} is no image." for entry in entries[:2]]
    assert transform.called == ["p3", "p1", "p2"]
    assert [path.name for path in folder.iterdir()] == ["p2.npz"]
    for entry in entries[:2]:
        write(entry["t1"], "4")
    transform = Transform()
    prepare(entries, folder, transform)
    assert transform.called == ["p3", "p1"]


def test_many_failures_are_not_all_listed(entries, tmp_path):
    broken = write(entries[0]["t1"], "broken")
    many = [{"subject": f"q{index}", "t1": broken} for index in range(13)]
    with pytest.raises(ValueError, match=r"13 subject\(s\)[\s\S]*q9: .*\n  and 3 more$"):
        prepare(many, tmp_path / "prepared")


@pytest.mark.parametrize("error", [TypeError, torch.OutOfMemoryError, KeyboardInterrupt])
def test_what_is_not_about_a_subject_stops_at_once(entries, tmp_path, error):
    write(entries[1]["t1"], "broken")
    transform = Transform(error=error)
    with pytest.raises(error):
        prepare(entries, tmp_path / "prepared", transform)
    assert transform.called == ["p3", "p1"]
    write(entries[1]["t1"], "1")
    transform = Transform()
    prepare(entries, tmp_path / "prepared", transform)
    assert transform.called == ["p1", "p2"]


def test_a_disc_that_is_full_stops_at_once(entries, tmp_path, monkeypatch):
    def full(path, **arrays):
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    transform = Transform()
    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(OSError, match=r"cannot write .*p3.npz: No space left on device"):
            prepare(entries, tmp_path / "prepared", transform)
    assert transform.called == ["p3"]
    assert not list((tmp_path / "prepared").iterdir())


@pytest.mark.parametrize("kept", [True, False])
def test_other_shapes_are_refused(entries, tmp_path, kept):
    class Growing(Transform):
        def __call__(self, entry):
            return Transform(shape=(5, 4, 3) if entry["subject"] == "p3" else (5, 4, 2))(entry)

    if kept:
        prepare(entries[:1], tmp_path / "prepared")
    message = r"'p1': the image has shape \(3, 5, 4, 2\), that of 'p3' \(3, 5, 4, 3\); .* ResizeWithPadOrCropd"
    with pytest.raises(ValueError, match=message):
        prepare(entries, tmp_path / "prepared", Growing())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"differentiation": torch.zeros(3, 2, 2, 2)}, r"'differentiation' has shape \(3, 2, 2, 2\), the image"),
        ({"image": torch.full((3, *SHAPE), 1e6)}, "'image' has values that are not finite in half precision"),
        ({"differentiation": torch.full((3, *SHAPE), torch.nan)}, "'differentiation' has values that are not finite"),
    ],
)
def test_samples_that_cannot_be_stored(entries, tmp_path, changed, message):
    with pytest.raises(ValueError, match=f"Subject 'p3': {message}"):
        prepare(entries, tmp_path / "prepared", Transform(**changed))


def test_a_transform_without_maps(entries, tmp_path):
    def transform(entry):
        return {"image": torch.zeros(1, 2), "available": torch.tensor([True])}

    with pytest.raises(ValueError, match="'p3': the transforms make no 'differentiation'"):
        prepare(entries, tmp_path / "prepared", transform)
    assert prepare(entries, tmp_path / "prepared", transform, differentiation=False)[0]["image"].shape == (1, 2)


def test_refuses_no_subjects_and_the_same_twice(entries, tmp_path):
    with pytest.raises(ValueError, match="no subjects"):
        prepare([], tmp_path / "prepared")
    with pytest.raises(ValueError, match="'p3' stands twice"):
        prepare([entries[0], *entries], tmp_path / "prepared")


def test_an_absent_file_is_named_before_anything_is_prepared(entries, tmp_path):
    Path(entries[2]["t2"]).unlink()
    with pytest.raises(FileNotFoundError, match=r"Subject 'p2': .*t2.nii.gz does not exist"):
        prepare(entries, tmp_path / "prepared", forbidden)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"x" * 400, npy_bytes()])
def test_damaged_files(entries, tmp_path, content):
    prepared = prepare(entries, tmp_path / "prepared")
    path = tmp_path / "prepared" / "p1.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"p1.npz cannot be read: .* Remove it"):
        prepared[1]
    with pytest.raises(ValueError, match=r"p1.npz is no file of a prepared subject, or is damaged; remove it"):
        prepare(entries, tmp_path / "prepared")
    transform = Transform()
    prepare(entries, tmp_path / "prepared", transform, overwrite=True)
    assert transform.called == ["p1"]


def test_a_changed_byte_is_noticed(entries, tmp_path):
    prepared = prepare(entries, tmp_path / "prepared")
    path = tmp_path / "prepared" / "p1.npz"
    content = path.read_bytes()
    values = prepared[1]["image"].half().numpy().tobytes()
    path.write_bytes(content.replace(values, bytes([values[0] ^ 1]) + values[1:]))
    with pytest.raises(ValueError, match=r"p1.npz cannot be read: .*CRC"):
        prepared[1]


def test_random_numbers_do_not_depend_on_what_was_prepared(entries, tmp_path):
    drawn = []
    for _ in range(2):
        torch.manual_seed(0)
        prepare(entries, tmp_path / "prepared")
        drawn.append(torch.rand(1))
    assert torch.equal(*drawn)


class Holder:
    """A step of the preprocessing that holds something."""

    released = 0

    def __call__(self, sample):
        return sample

    def release(self):
        self.released += 1


@pytest.mark.parametrize("broken", [True, False])
def test_what_a_step_holds_is_released(entries, tmp_path, broken):
    first, nested = Holder(), Holder()
    transform = Compose([first, Transform(), Compose([nested])])
    if broken:
        write(entries[0]["t1"], "broken")
        with pytest.raises(ValueError, match="cannot be prepared"):
            prepare(entries, tmp_path / "prepared", transform)
    else:
        prepare(entries, tmp_path / "prepared", transform)
        prepare(entries, tmp_path / "prepared", transform)  # nothing was needed
    assert first.released == nested.released == 1


def test_workers(entries, tmp_path):
    prepared = prepare(entries, tmp_path / "prepared", lambda entry: Transform()(entry))
    assert len(pickle.dumps(prepared)) < 500
    loader = DataLoader(prepared, batch_size=3, num_workers=1, multiprocessing_context="spawn")
    batch = next(iter(loader))
    assert batch["subject"] == ["p3", "p1", "p2"]
    assert torch.equal(batch["image"], torch.stack([sample["image"] for sample in prepared]))
