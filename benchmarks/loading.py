# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How fast training slices come from the files to the step: ``python benchmarks/loading.py --help``."""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser
from monai.data import DataLoader, list_data_collate
from monai.transforms import Compose, EnsureTyped, RandFlipd, RandSpatialCropSamplesd, SpatialPadd
from tqdm import tqdm

from figures import Bar, BarPanel, bar_figure
from networks import BRAIN
from options import check_count
from report import ResultFiles, command_line
from seq2seq_mri.io.datalists.datalist import load_datalist
from seq2seq_mri.training.subject_dataset import SubjectDataset
from seq2seq_studies.comparison.resources import in_fresh_process

__all__ = ["loading", "write_cohort"]

TRAIN = Path(__file__).resolve().parents[1] / "bundles" / "seq2seq_brats" / "configs" / "train.json"
# Of the subjects in the cohort so many have images of their own; the others are further names of these files.
DIFFERENT = 4
VALIDATION_SUBJECTS = 4
MEBIBYTE = 2**20


def loading(
    subjects: int = 200,
    shape: Sequence[int] = (240, 240, 155),
    slice_size: Sequence[int] = (160, 192),
    batch_size: int = 16,
    unprepared: int = 10,
    workers: int = 2,
    rounds: int = 2,
    data_dir: str | None = None,
    output_dir: str | None = None,
    machine: str | None = None,
) -> None:
    """Time how training slices are loaded: prepared once and mapped to memory, against loading subjects in each epoch.

    The cohort is made first: ellipsoids of smooth noise as int16 NIfTI, four sequences each. What is prepared is the
    training data of bundles/seq2seq_brats/configs/train.json as it is shipped; the reference loads, orients, crops,
    normalises and cuts four patches of 128 x 160 of each subject, as version 0.1.0 did at first. A slice is counted
    when it has become float32 in a batch. Each measurement has a process of its own with one thread.

    Args:
        subjects: number of subjects to train on.
        shape: of their volumes, in voxels.
        slice_size: width and height of the prepared samples.
        batch_size: samples of a batch.
        unprepared: subjects that the reference loads.
        workers: processes that prepare, and that load where it says so.
        rounds: epochs that are timed, after one that is not.
        data_dir: where the cohort and what is prepared of it are put, and left; by default they are removed.
        output_dir: where the results are written; benchmarks/results by default.
        machine: first part of the files' names; by default the name of the processor.
    """
    settings = dict(locals())
    check_count(subjects=subjects, batch_size=batch_size, unprepared=unprepared, workers=workers, rounds=rounds)
    files = ResultFiles(output_dir, machine, "loading", torch.device("cpu"))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(data_dir or scratch)
        write_cohort(folder, subjects, shape)
        options = {"dataset_dir": str(folder), "output_dir": str(folder / "output"), "device": "cpu"}
        options |= {"slice_size": list(slice_size), "batch_size": batch_size}
        preparation = in_fresh_process(prepare, options | {"num_workers": workers}, subjects)
        variants = {
            "each subject in each epoch": (unprepared_batches, options, min(unprepared, subjects)),
            "prepared": (prepared_batches, options | {"num_workers": 0}),
            "prepared, rotated and scaled": (prepared_batches, options | {"num_workers": 0, "affine_probability": 1.0}),
            f"prepared, {workers} workers": (prepared_batches, options | {"num_workers": workers}),
        }
        rows = []
        for variant, (make, *arguments) in tqdm(variants.items(), desc="Loading", unit="variant"):
            rows.append({"variant": variant, **in_fresh_process(measure, make, arguments, rounds)})
        validation = in_fresh_process(validate, options | {"num_workers": 0})
    settings.pop("data_dir")
    bars = [Bar(row["variant"], {"": row["slices_per_second"]}, f"{row['slices_per_second']:.0f}/s") for row in rows]
    panel = BarPanel("Training slices into the step", "slices per second", bars, line=500)
    title = f"{subjects} subjects of {' x '.join(map(str, shape))}"
    files.write(settings, rows, bar_figure(title, [panel]), preparation=preparation, validation=validation)


def write_cohort(folder: Path, subjects: int, shape: Sequence[int]) -> None:
    """Write NIfTI files and ``datalist.json``: every subject has files of its own name, a few have their own content.

    Args:
        folder: where the files are put; subjects that are there are kept.
        subjects: to train on; as many as ``VALIDATION_SUBJECTS`` more to validate.
        shape: of the volumes.
    """
    random = np.random.default_rng(0)
    entries = []
    for index in range(subjects + VALIDATION_SUBJECTS):
        name = f"subject{index:04d}"
        entry = {"subject": name} | {sequence: f"{name}/{name}_{sequence}.nii.gz" for sequence in BRAIN}
        entries.append(entry)
        (folder / name).mkdir(parents=True, exist_ok=True)
        for sequence in BRAIN:
            path = folder / entry[sequence]
            if path.exists():
                continue
            if index < DIFFERENT:
                nibabel.save(nibabel.Nifti1Image(_volume(random, shape), np.eye(4)), path)
            else:
                os.link(folder / entries[index % DIFFERENT][sequence], path)
    content = {"sequences": BRAIN, "training": entries[:subjects], "validation": entries[subjects:]}
    (folder / "datalist.json").write_text(json.dumps(content))


def _volume(random: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    """Return smooth noise, and some that is not, in an ellipsoid that is as large in its volume as a brain."""
    axes = [np.linspace(-1, 1, size) / extent for size, extent in zip(shape, (0.57, 0.73, 0.9), strict=True)]
    inside = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij", sparse=True)) < 1
    coarse = torch.from_numpy(random.uniform(200, 1000, (1, 1, 9, 9, 9)))
    smooth = F.interpolate(coarse, size=tuple(shape), mode="trilinear")[0, 0].numpy()
    noise = 15 * random.standard_normal(tuple(shape), dtype=np.float32)
    return (np.maximum(smooth + noise, 1) * inside).astype(np.int16)


def _parser(options: dict[str, Any]) -> ConfigParser:
    parser = ConfigParser()
    parser.read_config(TRAIN)
    for key, value in options.items():
        parser[key] = value
    return parser


def prepare(options: dict[str, Any], subjects: int) -> dict[str, Any]:
    """Prepare the cohort as the bundle does, and return how long it took and what it takes."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    parser = _parser(options)
    for section in ("train", "validate"):
        parser.get_parsed_content(f"{section}#prepared")
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in Path(options["output_dir"]).rglob("*.npy"))
    count = subjects + VALIDATION_SUBJECTS
    return {
        "subjects": count,
        "workers": options["num_workers"],
        "seconds_per_subject": seconds / count,
        "megabytes_per_subject": size / count / 1e6,
        "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / MEBIBYTE,
    }


def prepared_batches(options: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """Return the training data of the bundle as it is shipped."""
    return _parser(options).get_parsed_content("train#dataloader")


def unprepared_batches(options: dict[str, Any], subjects: int) -> Iterable[dict[str, Any]]:
    """Return four patches of each subject, which is loaded for them."""
    parser = _parser(options)
    entries = load_datalist(Path(options["dataset_dir"]) / "datalist.json", "training", options["dataset_dir"])
    patch = [min(wanted, size) for wanted, size in zip((128, 160), options["slice_size"], strict=True)] + [3]
    steps = [
        *parser.get_parsed_content("prepare").transforms,
        SpatialPadd(keys="image", spatial_size=patch),
        RandSpatialCropSamplesd(keys="image", roi_size=patch, num_samples=4, random_size=False),
        RandFlipd(keys="image", spatial_axis=0, prob=0.5),
        EnsureTyped(keys="image", track_meta=False),
    ]
    dataset = SubjectDataset(entries[:subjects], Compose(steps))
    return DataLoader(dataset, batch_size=1, num_workers=0, collate_fn=list_data_collate)


def measure(make: Any, arguments: Sequence[Any], rounds: int) -> dict[str, Any]:
    """Time epochs of a loader; ``cpu`` seconds are those of this process, in which nothing but loading happens."""
    torch.set_num_threads(1)
    loader = make(*arguments)
    counts, seconds, cpu = 0, 0.0, 0.0
    for turn in range(rounds + 1):
        start, cpu_start = time.perf_counter(), time.process_time()
        for batch in loader:
            counts += len(batch["image"].to(torch.float32)) if turn > 0 else 0
        if turn > 0:
            seconds, cpu = seconds + time.perf_counter() - start, cpu + time.process_time() - cpu_start
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    workers = getattr(loader, "num_workers", 0)
    return {
        "slices": counts,
        "slices_per_second": counts / seconds,
        # What of the time others had is not ours; of workers it is not known.
        "slices_per_cpu_second": counts / cpu if workers == 0 else None,
        "peak_mib": max(peaks) * 1024 / MEBIBYTE,
    }


def validate(options: dict[str, Any]) -> dict[str, Any]:
    """Time the validation data of the bundle."""
    torch.set_num_threads(1)
    loader = _parser(options).get_parsed_content("validate#dataloader")
    for _ in loader:
        pass
    start = time.perf_counter()
    count = sum(1 for _ in loader)
    return {"seconds_per_subject": (time.perf_counter() - start) / count}


if __name__ == "__main__":
    command_line(loading)
