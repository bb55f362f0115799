# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The postprocessing of one subject goes on while the next is computed, and changes nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from engine_parts import SEQUENCES, loader, make_sample, tiny_generator, translation_evaluator
from ignite.engine import Events
from monai.transforms import Compose, CropForegroundd, Invertd, Orientationd

from seq2seq_mri.inference.evaluator import SynthesisEvaluator
from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.inference.subject_evaluator import _BackgroundPostprocessing
from seq2seq_mri.inference.synthesis_report import SynthesisReport
from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.save import SaveImageSequencesd
from seq2seq_mri.training.subject_dataset import SubjectDataset

SECONDS = 20
NAMES = list(SEQUENCES)


class Postprocessing:
    """Waits until it is let go, and remembers who came."""

    def __init__(self, before: Callable[[str], None]) -> None:
        self.before = before
        self.done: list[str] = []

    def __call__(self, data: dict) -> dict:
        self.before(data["subject"])
        self.done.append(data["subject"])
        return data


def evaluator(
    subjects: list[str], postprocessing: Callable, on_subject: Callable[[str], None], **arguments: Any
) -> Any:
    """Return an evaluator that overlaps, and calls ``on_subject`` when it computes one."""
    samples = [make_sample(subject, NAMES) for subject in subjects]
    engine = translation_evaluator(samples, postprocessing=postprocessing, overlap_postprocessing=True, **arguments)
    compute = engine.evaluate_subject

    def evaluate_subject(sample: dict) -> dict | None:
        on_subject(str(sample["subject"]))
        return compute(sample)

    engine.evaluate_subject = evaluate_subject
    return engine


def test_the_next_subject_is_computed_meanwhile() -> None:
    started = {name: threading.Event() for name in ("p1", "p2", "p3")}

    def until_the_next_has_started(subject: str) -> None:
        following = {"p1": "p2", "p2": "p3"}.get(subject)
        assert following is None or started[following].wait(SECONDS)

    postprocessing = Postprocessing(until_the_next_has_started)
    evaluator(list(started), postprocessing, lambda subject: started[subject].set()).run()
    assert postprocessing.done == ["p1", "p2", "p3"]


def test_one_subject_is_pending_at_most() -> None:
    seen = []
    postprocessing = Postprocessing(lambda subject: time.sleep(0.05))
    evaluator(["p1", "p2", "p3", "p4"], postprocessing, lambda subject: seen.append(len(postprocessing.done))).run()
    # When the fourth is computed, the third may be pending, but not the second.
    assert all(done >= index - 1 for index, done in enumerate(seen))
    assert postprocessing.done == ["p1", "p2", "p3", "p4"]


def test_all_is_done_before_what_is_written_at_the_end() -> None:
    done = []
    postprocessing = Postprocessing(lambda subject: time.sleep(0.1))
    engine = evaluator(["p1", "p2"], postprocessing, lambda subject: None)
    engine.add_event_handler(Events.COMPLETED, lambda: done.append(list(postprocessing.done)))
    engine.run()
    assert done == [["p1", "p2"]]


def test_a_terminated_run_is_done_too() -> None:
    done = []
    postprocessing = Postprocessing(lambda subject: time.sleep(0.1))
    engine = evaluator(["p1", "p2"], postprocessing, lambda subject: None)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda engine: engine.terminate())
    engine.add_event_handler(Events.COMPLETED, lambda: done.append(list(postprocessing.done)))
    engine.run()
    assert done == [["p1"]]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory")])
def test_an_interrupted_run_waits_for_what_is_being_written(error) -> None:
    def interrupt(subject: str) -> None:
        if subject == "p2":
            raise error

    postprocessing = Postprocessing(lambda subject: time.sleep(0.2))
    with pytest.raises(type(error)):
        evaluator(["p1", "p2", "p3"], postprocessing, interrupt).run()
    assert postprocessing.done == ["p1"]


def fail(subject: str) -> None:
    if subject in ("p1", "p3", "p4"):
        raise OSError(28, f"cannot write {subject}.nii.gz: No space left on device")


@pytest.mark.parametrize("overlap", [False, True])
def test_failures_are_those_without_overlap(overlap, caplog) -> None:
    """p2 has NaN; p1, p3 and the last, p4, cannot be saved."""
    samples = [make_sample(f"p{k}", NAMES) for k in (1, 2, 3, 5, 4)]
    samples[1]["image"][0, 3, 3, 3] = torch.nan
    engine = translation_evaluator(
        samples, postprocessing=Postprocessing(fail), overlap_postprocessing=overlap, network=tiny_generator(SEQUENCES)
    )
    with pytest.raises(ValueError, match=r"4 subject\(s\) failed, the others are done:") as caught:
        engine.run()
    lines = [line.strip() for line in str(caught.value).splitlines()[1:]]
    assert [line[:3] for line in lines] == ["p1:", "p2:", "p3:", "p4:"]
    assert lines[0] == "p1: [Errno 28] cannot write p1.nii.gz: No space left on device"
    assert "NaN" in lines[1]
    assert caplog.text.count(" failed: ") == 4
    with pytest.raises(ValueError, match=r"4 subject\(s\) failed"):
        engine.run()


def test_programming_errors_are_not_swallowed() -> None:
    def broken(data: dict) -> dict:
        raise TypeError("a bug")

    for subjects in (["p1"], ["p1", "p2"]):
        with pytest.raises(RuntimeError) as caught:
            evaluator(subjects, broken, lambda subject: None).run()
        assert isinstance(caught.value.__cause__, TypeError)


def test_an_error_while_writing_does_not_hide_another(caplog) -> None:
    def broken(subject: str) -> None:
        if subject == "p2":
            raise KeyboardInterrupt

    def not_written(data: dict) -> dict:
        time.sleep(0.1)
        raise TypeError("a bug")

    with pytest.raises(KeyboardInterrupt):
        evaluator(["p1", "p2"], not_written, broken).run()
    assert "p1 failed: " in caplog.text


def test_what_was_given_is_not_changed() -> None:
    sample, output = {"subject": "p1", "image": 1}, {"pred": 2}
    background = _BackgroundPostprocessing(lambda data: {**data, "image": 0, "pred": 0, "new": 0})
    assert background.wait() is None
    background.start("p1", sample, output)
    assert background.wait() is None
    assert (sample, output) == ({"subject": "p1", "image": 1}, {"pred": 2})


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> list[dict]:
    """Files of four subjects, two of whom lack a sequence."""
    folder = tmp_path_factory.mktemp("cohort")
    affine = np.diag([-1.0, -1, 2, 1])
    entries = []
    for index, available in enumerate([["t1", "t2"], NAMES, ["dce"], ["t1", "t2"]]):
        sample = make_sample(f"p{index}", available, shape=(14, 15, 11))
        entry = {"subject": sample["subject"]}
        start = 0
        for name, timepoints in SEQUENCES.items():
            voxels = sample["image"].numpy()[start : start + timepoints]
            start += timepoints
            if name in available:
                entry[name] = str(folder / f"p{index}_{name}.nii.gz")
                nibabel.save(nibabel.Nifti1Image(np.moveaxis(voxels, 0, -1), affine), entry[name])
        entries.append(entry)
    return entries


def synthesise(cohort: list[dict], folder: Path, **arguments: Any) -> dict[str, bytes]:
    """Run a whole synthesis with figures, and return its files."""
    preprocessing = Compose(
        [
            LoadImageSequencesd(SEQUENCES),
            Orientationd(keys="image", axcodes="RAS", labels=None),
            CropForegroundd(
                keys="image", source_key="image", allow_smaller=True, start_coord_key=None, end_coord_key=None
            ),
        ]
    )
    keys = ["pred", "deviation"]
    save = SaveImageSequencesd(keys, SEQUENCES, folder, suffixes=["", "_sd"])
    invert = Invertd(keys, preprocessing, orig_keys="image", nearest_interp=False)
    report = SynthesisReport(folder, SEQUENCES)
    SynthesisEvaluator(
        SEQUENCES,
        fusion=MeanFusion(),
        report=report,
        device="cpu",
        val_data_loader=loader(SubjectDataset(cohort, preprocessing, on_error="report")),
        network=tiny_generator(SEQUENCES),
        inferer=SliceTranslationInferer(),
        postprocessing=Compose([invert, save]),
        val_handlers=[report],
        **arguments,
    ).run()
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_and_tables_are_those_without_overlap(cohort, tmp_path) -> None:
    files = [synthesise(cohort, tmp_path / str(on), overlap_postprocessing=on) for on in (False, True)]
    assert {name.split("/")[-1] for name in files[0]} == {
        f"{subject}_{target}{ending}"
        for subject, target in (("p0", "dce"), ("p2", "t1"), ("p2", "t2"), ("p3", "dce"))
        for ending in (".nii.gz", "_sd.nii.gz", ".png")
    } | {"synthesis.csv"}
    assert files[0] == files[1]


def test_a_subject_that_could_not_be_saved_is_not_in_the_table(cohort, tmp_path) -> None:
    (tmp_path / "p2").write_text("in the way of the folder")
    with pytest.raises(ValueError, match=r"1 subject\(s\) failed, the others are done:\n  p2: "):
        synthesise([{**cohort[2], "subject": "p2"}, cohort[0]], tmp_path, overlap_postprocessing=True)
    lines = (tmp_path / "synthesis.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [["p0", "dce"]]
