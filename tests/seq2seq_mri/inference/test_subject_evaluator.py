# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One subject at a time, whatever happens to the others; its postprocessing goes on while the next is computed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from engine_parts import SEQUENCES, make_sample, tiny_generator, translation_evaluator
from ignite.engine import Events
from monai.data import DataLoader
from monai.inferers import SimpleInferer

from seq2seq_mri.inference.evaluator import TranslationEvaluator

SECONDS = 20
NAMES = list(SEQUENCES)


class Postprocessing:
    """Calls a function for each subject, remembers who came, and changes what it was given."""

    def __init__(self, before: Callable[[str], None]) -> None:
        self.before = before
        self.done: list[str] = []

    def __call__(self, data: dict) -> dict:
        self.before(data["subject"])
        self.done.append(data["subject"])
        return {**data, "image": 0, "rows": "changed"}


def make_engine(
    subjects: list[str], postprocessing: Callable, on_subject: Callable[[str], Any] = str, overlap: bool = True
) -> TranslationEvaluator:
    """Return an evaluator that calls ``on_subject`` when it computes one."""
    samples = [make_sample(subject, NAMES) for subject in subjects]
    engine = translation_evaluator(samples, postprocessing=postprocessing, overlap_postprocessing=overlap)
    compute = engine.evaluate_subject

    def evaluate_subject(sample: dict) -> dict | None:
        on_subject(str(sample["subject"]))
        return compute(sample)

    engine.evaluate_subject = evaluate_subject
    return engine


def test_batches_of_several_subjects_are_refused() -> None:
    loader = DataLoader([make_sample(subject, NAMES) for subject in ("p1", "p2")], batch_size=2)
    with pytest.raises(ValueError, match="gives 2 subjects at a time, and subjects are processed one by one"):
        TranslationEvaluator(
            SEQUENCES, device="cpu", val_data_loader=loader, network=tiny_generator(), inferer=SimpleInferer()
        )


def test_the_next_subject_is_computed_meanwhile() -> None:
    started = {name: threading.Event() for name in ("p1", "p2", "p3")}

    def until_the_next_has_started(subject: str) -> None:
        following = {"p1": "p2", "p2": "p3"}.get(subject)
        assert following is None or started[following].wait(SECONDS)

    postprocessing = Postprocessing(until_the_next_has_started)
    make_engine(list(started), postprocessing, lambda subject: started[subject].set()).run()
    assert postprocessing.done == ["p1", "p2", "p3"]


def test_one_subject_is_pending_at_most() -> None:
    seen = []
    postprocessing = Postprocessing(lambda subject: time.sleep(0.05))
    subjects = ["p1", "p2", "p3", "p4"]
    make_engine(subjects, postprocessing, lambda subject: seen.append(len(postprocessing.done))).run()
    # When the fourth is computed, the third may be pending, but not the second.
    assert all(done >= index - 1 for index, done in enumerate(seen))


@pytest.mark.parametrize("terminates", [False, True])
def test_all_is_done_before_what_is_written_at_the_end(terminates) -> None:
    found = []
    postprocessing = Postprocessing(lambda subject: time.sleep(0.1))
    engine = make_engine(["p1", "p2"], postprocessing)
    if terminates:
        engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), lambda engine: engine.terminate())
    engine.add_event_handler(Events.COMPLETED, lambda: found.append([*postprocessing.done, engine.state.output]))
    engine.run()
    ((*done, output),) = found
    assert done == (["p1"] if terminates else ["p1", "p2"])
    assert len(output["rows"]) == 6  # as it was computed


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("out of memory"), TypeError("a bug")])
def test_an_interrupted_run_waits_for_what_is_being_written(error) -> None:
    def interrupt(subject: str) -> None:
        if subject == "p2":
            raise error

    postprocessing = Postprocessing(lambda subject: time.sleep(0.2))
    with pytest.raises(type(error)):
        make_engine(["p1", "p2", "p3"], postprocessing, interrupt).run()
    assert postprocessing.done == ["p1"]


def test_an_error_while_writing_does_not_hide_another(caplog) -> None:
    def interrupt(subject: str) -> None:
        if subject == "p2":
            raise KeyboardInterrupt

    def not_written(data: dict) -> dict:
        time.sleep(0.1)
        raise TypeError("a bug")

    with pytest.raises(KeyboardInterrupt):
        make_engine(["p1", "p2"], not_written, interrupt).run()
    assert "p1 failed: " in caplog.text


@pytest.mark.parametrize("overlap", [False, True])
def test_others_are_done_and_failures_are_listed(overlap, caplog) -> None:
    """p2 has NaN, p3 could not be loaded; p1 and the last, p5, cannot be saved."""

    def fail(subject: str) -> None:
        if subject in ("p1", "p5"):
            raise OSError(28, f"cannot write {subject}.nii.gz: No space left on device")

    postprocessing = Postprocessing(fail)
    samples: list[dict] = [make_sample(f"p{k}", NAMES) for k in (1, 2, 4, 5)]
    samples[1]["image"][0, 3, 3, 3] = torch.nan
    samples.insert(2, {"subject": "p3", "error": "Subject 'p3': scan.nii.gz does not exist."})
    engine = translation_evaluator(samples, postprocessing=postprocessing, overlap_postprocessing=overlap)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"4 subject\(s\) failed, the others are done:") as caught:
            engine.run()
        lines = str(caught.value).splitlines()[1:]
        assert lines[0] == "  p1: [Errno 28] cannot write p1.nii.gz: No space left on device"
        assert lines[1].startswith("  p2: The ")
        assert "NaN" in lines[1]
        assert lines[2] == "  p3: Subject 'p3': scan.nii.gz does not exist."
        assert [line[:5] for line in lines[3:]] == ["  p5:"]
    assert postprocessing.done == ["p4", "p4"]
    assert caplog.text.count(" failed: ") == 2 * 4


@pytest.mark.parametrize(("subjects", "overlap"), [(["p1"], False), (["p1"], True), (["p1", "p2"], True)])
def test_programming_errors_are_not_swallowed(subjects, overlap) -> None:
    def broken(data: dict) -> dict:
        raise TypeError("a bug")

    with pytest.raises(RuntimeError) as caught:
        make_engine(subjects, broken, overlap=overlap).run()
    assert isinstance(caught.value.__cause__, TypeError)


def test_a_process_without_subjects_takes_part() -> None:
    evaluator = translation_evaluator([])
    fired = []
    for event in (Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
        evaluator.add_event_handler(event, lambda engine, event=event: fired.append((event, engine.state.epoch)))
    evaluator.run(global_epoch=4)
    assert fired == [(Events.EPOCH_STARTED, 4), (Events.EPOCH_COMPLETED, 4), (Events.COMPLETED, 4)]
