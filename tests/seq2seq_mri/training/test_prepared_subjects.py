# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Prepared subjects: computed once, known again, replaced when they change, and never half-written or mixed up."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose

from seq2seq_mri.training.prepared_subjects import PreparedSubjects, SubjectSamples

SHAPE = (5, 4, 3)
PARAMETERS = {"spacing": (1.0, 1.0, 2.0), "generator": "abc"}


class Transform:
    """Makes images of files that hold the seed of their values, and counts; a file with a text is broken."""

    def __init__(self, shape: tuple[int, ...] = SHAPE, error: type[Exception] = ValueError, **changed: Any) -> None:
        self.shape, self.error, self.changed = shape, error, changed
        self.called: list[str] = []
        self.released = 0

    def release(self) -> None:
        self.released += 1

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


def write(path: str | Path, text: str, changed: int = 1_000_000_000) -> str:
    """Write a file of a known age."""
    Path(path).write_text(text)
    os.utime(path, (changed, changed))
    return str(path)


def prepare(entries, folder, transform=None, parameters=PARAMETERS, **options) -> PreparedSubjects:
    return PreparedSubjects(entries, transform or Transform(), folder, parameters, **options)


def prepared_now(entries, folder, **options) -> list[str]:
    """Prepare, and return whom that was not done for before."""
    transform = Transform()
    prepare(entries, folder, transform, **options)
    return transform.called


def names(folder: Path) -> list[str]:
    """Names of the files of prepared subjects."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def forbidden(entry: Any) -> Any:
    raise AssertionError(f"{entry['subject']} was prepared again")


def test_samples_are_those_of_the_transform_and_are_prepared_once(entries, tmp_path):
    state, folder = torch.get_rng_state(), tmp_path / "new" / "folder"
    prepared = prepare(entries, folder)
    # The random numbers of what follows do not depend on what was prepared.
    assert torch.equal(torch.get_rng_state(), state)
    assert prepared.subjects == ["p3", "p1", "p2"]
    assert len(prepared) == 3
    # JSON has lists and no tuples.
    again = prepare(entries, folder, forbidden, PARAMETERS | {"spacing": [1.0, 1.0, 2.0]})
    for entry, sample, same in zip(entries, prepared, again, strict=True):
        expected = Transform()(entry)
        assert sample.keys() == {"subject", "image", "differentiation", "available"}
        assert sample["subject"] == entry["subject"]
        for key in ("image", "differentiation"):
            assert type(sample[key]) is torch.Tensor
            assert sample[key].dtype == torch.float32
            assert torch.equal(sample[key], expected[key].as_tensor().half().float())
            assert torch.equal(sample[key], same[key])
        assert sample["available"].dtype == torch.bool
        assert torch.equal(sample["available"], expected["available"])


def test_order_labels_parts_and_place_of_a_cohort_make_no_difference(entries, tmp_path):
    first = prepare(entries[:2], tmp_path / "prepared")
    (tmp_path / "cohort").rename(tmp_path / "elsewhere")
    moved = []
    for entry in reversed(entries):
        files = {key: entry[key].replace("cohort", "elsewhere") for key in ("t1", "t2") if key in entry}
        moved.append({"subject": entry["subject"], "patient": "another", "label": "another", **files})
    assert prepared_now(moved, tmp_path / "prepared") == ["p2"]
    second = prepare(moved, tmp_path / "prepared", forbidden)
    assert second.subjects == ["p2", "p1", "p3"]
    assert torch.equal(second[2]["image"], first[0]["image"])


@pytest.mark.parametrize("change", ["size", "time", "name", "withheld"])
def test_a_subject_whose_files_change_is_prepared_again_alone(entries, tmp_path, change):
    before = prepare(entries, tmp_path / "prepared")[0]["image"]
    entry = entries[0]
    if change == "size":
        write(entry["t1"], "12")
    elif change == "time":
        write(entry["t1"], "5", changed=1_000_000_009)
    elif change == "name":
        entry["t1"] = write(entry["t1"].replace("t1", "t1_new"), "5")
    else:
        entry["withheld"] = {"t2": entry.pop("t2")}
    transform = Transform()
    prepared = prepare(entries, tmp_path / "prepared", transform)
    assert transform.called == ["p3"]
    assert torch.equal(prepared[0]["image"], before) == (change == "withheld")
    assert bool(prepared[0]["available"][1]) == (change != "withheld")


def test_files_in_lists_and_folders_are_looked_at(entries, tmp_path):
    series = tmp_path / "series"
    series.mkdir()
    frames = [write(series / f"{index}.dcm", "0") for index in range(2)]
    given = [{**entries[0], "dce": frames}, {**entries[1], "dwi": str(series)}, {**entries[2], "t2": None}]
    prepare(given, tmp_path / "prepared")
    prepare(given, tmp_path / "prepared", forbidden)
    write(frames[1], "00")
    assert prepared_now(given, tmp_path / "prepared") == ["p3", "p1"]


@pytest.mark.parametrize(
    ("changed", "different"),
    [
        ({"parameters": {**PARAMETERS, "spacing": 1.0, "more": None, "targets": ["t1"]}}, "spacing, targets"),
        ({"differentiation": False}, "differentiation"),
    ],
)
def test_other_parameters_are_refused_or_replaced(entries, tmp_path, changed, different):
    folder = tmp_path / "prepared"
    prepare(entries[:1], folder)
    with pytest.raises(ValueError, match=rf"p3.json was prepared otherwise \(different: {different}\)"):
        prepare(entries, folder, forbidden, **changed)
    assert len(names(folder)) == 3
    transform = Transform(shape=(2, 2, 2))
    replaced = prepare(entries, folder, transform, **changed, overwrite=True)
    assert transform.called == ["p3", "p1", "p2"]
    assert replaced[0]["image"].shape == (3, 2, 2, 2)
    prepare(entries, folder, forbidden, **changed)


def test_without_differentiation_and_with_flags(entries, tmp_path):
    flags = {"measured": torch.tensor([True, True]), "withheld": torch.tensor([False, True])}
    prepare(entries, tmp_path / "prepared", Transform(**flags), differentiation=False)
    sample = prepare(entries, tmp_path / "prepared", forbidden, differentiation=False)[0]
    assert sample.keys() == {"subject", "image", "available", "measured", "withheld"}
    assert all(torch.equal(sample[key], flag) and sample[key].dtype == torch.bool for key, flag in flags.items())


@pytest.mark.parametrize(("error", "composed", "workers"), [(OSError, False, 0), (ValueError, True, 2)])
def test_broken_subjects_are_named_and_stop_no_other(entries, tmp_path, error, composed, workers):
    """MONAI's Compose wraps errors, which is undone."""
    folder = tmp_path / "prepared"
    for entry in entries[:2]:
        write(entry["t1"], "broken")
    transform = Transform(error=error)
    with pytest.raises(ValueError, match=r"2 subject\(s\) cannot be prepared, the others are; ") as caught:
        prepare(entries, folder, Compose([transform]) if composed else transform, num_workers=workers)
    lines = str(caught.value).splitlines()[1:]
    assert lines == [f"  {entry['subject']}: {entry['t1']} is no image." for entry in entries[:2]]
    assert names(folder) == ["p2.differentiation.npy", "p2.image.npy", "p2.json"]
    for entry in entries[:2]:
        write(entry["t1"], "4")
    assert prepared_now(entries, folder) == ["p3", "p1"]


def test_many_failures_are_not_all_listed(entries, tmp_path):
    broken = write(entries[0]["t1"], "broken")
    many = [{"subject": f"q{index}", "t1": broken} for index in range(13)]
    with pytest.raises(ValueError, match=r"13 subject\(s\)[\s\S]*q9: .*\n  and 3 more$"):
        prepare(many, tmp_path / "prepared")


@pytest.mark.parametrize("error", [TypeError, KeyboardInterrupt])
def test_what_is_not_about_a_subject_stops_at_once(entries, tmp_path, error):
    write(entries[1]["t1"], "broken")
    transform = Transform(error=error)
    with pytest.raises(error):
        prepare(entries, tmp_path / "prepared", transform)
    assert transform.called == ["p3", "p1"]
    write(entries[1]["t1"], "1")
    assert prepared_now(entries, tmp_path / "prepared") == ["p1", "p2"]


def test_a_disc_that_is_full_stops_at_once(entries, tmp_path, monkeypatch):
    def full(path, array):
        raise OSError(28, "No space left on device")

    transform = Transform()
    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=r"cannot write .*p3.image.npy: No space left on device"):
        prepare(entries, tmp_path / "prepared", transform)
    assert transform.called == ["p3"]
    assert not names(tmp_path / "prepared")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"differentiation": torch.zeros(3, 2, 2, 2)}, r"'differentiation' has shape \(3, 2, 2, 2\), the image"),
        ({"image": torch.full((3, *SHAPE), 1e6)}, "'image' has values that are not finite in half precision"),
    ],
)
def test_samples_that_cannot_be_stored(entries, tmp_path, changed, message):
    with pytest.raises(ValueError, match=f"Subject 'p3': {message}"):
        prepare(entries, tmp_path / "prepared", Transform(**changed))


def test_refuses_what_cannot_be_a_cohort_before_anything_is_prepared(entries, tmp_path):
    with pytest.raises(ValueError, match="no subjects"):
        prepare([], tmp_path / "prepared")
    with pytest.raises(ValueError, match="'p3' stands twice"):
        prepare([entries[0], *entries], tmp_path / "prepared", forbidden)
    Path(entries[2]["t2"]).unlink()
    with pytest.raises(FileNotFoundError, match=r"Subject 'p2': .*t2.nii.gz does not exist"):
        prepare(entries, tmp_path / "prepared", forbidden)


@pytest.mark.parametrize("content", [b"", b"[1, 2]", b'{"images": {}, "tissue": [], "origin": 3}'])
def test_damaged_descriptions(entries, tmp_path, content):
    prepare(entries, tmp_path / "prepared")
    (tmp_path / "prepared" / "p1.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"p1.json is no file of a prepared subject, or is damaged; remove it"):
        prepare(entries, tmp_path / "prepared")
    assert prepared_now(entries, tmp_path / "prepared", overwrite=True) == ["p1"]


@pytest.mark.parametrize("content", [None, b"x" * 400])
@pytest.mark.parametrize("key", ["image", "differentiation"])
def test_damaged_images(entries, tmp_path, content, key):
    prepared = prepare(entries, tmp_path / "prepared")
    path = tmp_path / "prepared" / f"p1.{key}.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ValueError, match=rf"p1.{key}.npy cannot be read: its values are not those that were written"):
        prepared[1]
    path.unlink() if content is None else path.write_bytes(content)
    image = prepared.stored(1)["image"]
    for read in [lambda: prepared[1]] + [lambda: image.read(0, 2), image.map] * (key == "image"):
        with pytest.raises(ValueError, match=rf"p1.{key}.npy cannot be read: .* Remove it"):
            read()
    assert prepared_now(entries, tmp_path / "prepared") == ["p1"]


def test_what_a_step_holds_is_released(entries, tmp_path):
    step = Transform()
    transform = Compose([Compose([step])])
    good = write(entries[0]["t1"], "broken")
    with pytest.raises(ValueError, match="cannot be prepared"):
        prepare(entries, tmp_path / "prepared", transform)
    assert step.released == 1
    write(good, "0")
    prepare(entries, tmp_path / "prepared", transform)
    prepare(entries, tmp_path / "prepared", transform)  # nothing was needed
    assert step.released == 2


def test_a_worker_is_sent_neither_images_nor_the_transform(entries, tmp_path):
    assert len(pickle.dumps(prepare(entries, tmp_path, lambda entry: Transform()(entry)))) < 2000


def test_slices_come_first_and_tissue_is_counted(entries, tmp_path):
    prepared = prepare(entries, tmp_path / "prepared")
    stored, whole = prepared.stored(1), prepared[1]
    assert stored["image"].shape == (3, 3, 5, 4)
    assert len(stored["image"]) == 3
    slices = np.moveaxis(whole["image"].numpy(), -1, 0)
    assert isinstance(stored["image"].map(), np.memmap)
    np.testing.assert_array_equal(stored["image"].map(), slices)
    for first, last in ((0, 3), (1, 2), (0, 1), (1, 3)):
        np.testing.assert_array_equal(stored["image"].read(first, last), slices[first:last])
    stored["image"].map()[:] = 3  # changes no file
    assert torch.equal(prepared[1]["image"], whole["image"])
    counts = (whole["image"] > whole["image"].min()).sum(dim=(1, 2)).T
    np.testing.assert_array_equal(stored["tissue"], counts)
    assert stored["tissue"].sum() == whole["image"].numel() - 1  # but for the lowest value
    assert torch.equal(stored["available"], whole["available"])


def test_samples_go_round_the_subjects(entries, tmp_path):
    samples = SubjectSamples(prepare(entries, tmp_path / "prepared"), 2)
    assert [samples[index]["subject"] for index in range(len(samples))] == ["p3", "p1", "p2"] * 2
    assert samples[-1]["subject"] == "p2"
    with pytest.raises(IndexError):
        samples[6]
    with pytest.raises(ValueError, match="samples_per_subject is 0"):
        SubjectSamples(samples.prepared, 0)


def test_without_parameters_the_settings_of_the_transforms_are_compared(entries, tmp_path):
    prepare(entries, tmp_path, Compose([Transform()]), None)
    same = Transform()
    prepare(entries, tmp_path, Compose([same]), None)
    assert same.called == []
    with pytest.raises(ValueError, match=r"prepared otherwise \(different: transform\)"):
        prepare(entries, tmp_path, Compose([Transform(shape=(2, 2, 2))]), None)


def test_several_processes_prepare_the_same(entries, tmp_path):
    prepare(entries, tmp_path / "alone")
    prepare(entries, tmp_path / "together", num_workers=2)
    assert names(tmp_path / "alone") == names(tmp_path / "together")
    for name in names(tmp_path / "alone"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "together" / name).read_bytes()


def test_processes_do_not_prepare_twice(entries, tmp_path):
    def prepare_slowly() -> None:
        def slow(entry: dict[str, Any]) -> dict[str, Any]:
            time.sleep(0.2)
            with (tmp_path / "calls").open("a") as file:
                file.write(entry["subject"] + "\n")
            return Transform()(entry)

        prepare(entries, tmp_path / "prepared", slow)

    processes = [multiprocessing.get_context("fork").Process(target=prepare_slowly) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted((tmp_path / "calls").read_text().split()) == ["p1", "p2", "p3"]


def test_a_killed_preparation_goes_on(entries, tmp_path):
    """The process dies while it writes: nothing half-written is used, its rests are removed, and no lock remains."""
    folder = tmp_path / "prepared"

    def killed() -> None:
        written = []

        def dies(path, array):
            written.append(path)
            if len(written) == 4:  # the maps of the second subject
                Path(path).write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            return save(path, array)

        save, np.save = np.save, dies
        prepare(entries, folder)

    process = multiprocessing.get_context("fork").Process(target=killed)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [path for path in folder.iterdir() if ".partial" in path.name]
    transform = Transform()
    prepared = prepare(entries, folder, transform)
    assert transform.called == ["p1", "p2"]
    assert not [path for path in folder.iterdir() if ".partial" in path.name]
    assert torch.equal(prepared[1]["image"], Transform()(entries[1])["image"].as_tensor().half().float())


def test_room_is_stated_and_needed(entries, tmp_path, monkeypatch, caplog):
    size = 3 * 60 * 2 * 2  # two images of three channels
    usage = SimpleNamespace(free=2 * (size + 2 * 128) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    caplog.set_level("INFO")
    with pytest.raises(OSError, match=r"free space, but about .* are needed for 2 prepared subjects; .*--cache_dir"):
        prepare(entries, tmp_path / "prepared")
    assert "3 subjects are prepared once" in caplog.text
    usage.free += 1
    assert prepared_now(entries, tmp_path / "prepared") == ["p1", "p2"]
