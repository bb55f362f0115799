# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""One process writes TensorBoard events, the others none."""

from __future__ import annotations

import pytest
from monai.handlers import TensorBoardStatsHandler
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from training_parts import Training

from seq2seq_mri.training import tensorboard
from seq2seq_mri.training.handlers import TranslationImageHandler, loss_terms
from seq2seq_mri.training.tensorboard import SilentSummaryWriter, summary_writer


@pytest.mark.parametrize("process", [0, 1])
def test_a_training_writes_events_in_the_first_process_only(tmp_path, monkeypatch, process) -> None:
    monkeypatch.setattr(tensorboard, "rank", lambda: process)
    writer = summary_writer(tmp_path / "events")
    training = Training(tmp_path, epochs=2, val_interval=1)
    TensorBoardStatsHandler(writer, output_transform=loss_terms).attach(training.trainer)
    TensorBoardStatsHandler(writer, iteration_log=False).attach(training.evaluator)
    TranslationImageHandler(writer).attach(training.trainer)
    training.run()
    writer.close()
    if process == 1:
        assert not (tmp_path / "events").exists()
        return
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert {"loss", "reconstruction", "val_psnr"} <= set(events.Tags()["scalars"])
    assert len(events.Images("source | target | synthesised | error")) == 2


def test_a_mistyped_method_is_an_error() -> None:
    with pytest.raises(AttributeError, match="a SummaryWriter has no method 'add_skalar'"):
        SilentSummaryWriter().add_skalar("loss", 1.0)
