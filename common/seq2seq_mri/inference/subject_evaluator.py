# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The base engine of evaluation and inference, which processes one subject at a time.

A subject whose data cannot be used does not stop the others; these are listed, and raised as one error, at the end. Any
other error ends the run.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import torch
from ignite.engine import Events
from monai.data import decollate_batch
from monai.engines import SupervisedEvaluator
from monai.engines.utils import IterationEvents, engine_apply_transform
from monai.inferers import Inferer
from monai.transforms import Transform

from seq2seq_mri.training.distributed import gather_rows
from seq2seq_mri.training.subject_dataset import original_error

__all__ = ["SubjectEvaluator"]


class SubjectEvaluator(SupervisedEvaluator):
    """Base of evaluation and inference: one subject per iteration, postprocessing included, failures collected.

    Args:
        device: where the network computes.
        val_data_loader: yields one subject per batch; ``{"subject", "error"}`` for one that could not be loaded.
        network: the generator.
        inferer: translates volumes, see :mod:`seq2seq_mri.inference`.
        postprocessing: applied to the subject's sample and output together.
        overlap_postprocessing: whether the postprocessing of a subject goes on while the next one is computed. Handlers
            then see the output as it was computed, and whose postprocessing failed is known, in ``failures``, when all
            is completed. Otherwise a subject is postprocessed before handlers see it.
        key_val_metric, additional_metrics, val_handlers: as in :class:`monai.engines.SupervisedEvaluator`.

    Raises:
        ValueError: when the data loader's batches hold several subjects.
    """

    def __init__(
        self,
        device: torch.device | str,
        val_data_loader: Iterable,
        network: torch.nn.Module,
        inferer: Inferer,
        *,
        postprocessing: Transform | None = None,
        overlap_postprocessing: bool = False,
        key_val_metric: dict | None = None,
        additional_metrics: dict | None = None,
        val_handlers: Sequence | None = None,
    ) -> None:
        size = getattr(val_data_loader, "batch_size", None)
        if size not in (None, 1):
            raise ValueError(
                f"The data loader gives {size} subjects at a time, and subjects are processed one by one; give its "
                "batch_size 1."
            )
        super().__init__(
            device=torch.device(device),
            val_data_loader=val_data_loader,
            network=network,
            inferer=inferer,
            postprocessing=None if overlap_postprocessing else postprocessing,
            key_val_metric=key_val_metric,
            additional_metrics=additional_metrics,
            val_handlers=val_handlers,
            decollate=False,
        )
        self.failures: list[tuple[str, str]] = []
        self._overlapped = postprocessing if overlap_postprocessing else None
        # Only one subject is ever pending, so that at most its volumes are held beside those that are being computed. A
        # data loader without workers loads the next subject meanwhile, with the transforms that Invertd inverts; MONAI
        # keeps what a transform has traced with the data, so they do not disturb each other.
        self._pending: tuple[str, Future] | None = None
        # Before what is written when all is completed; a terminated run fires no EPOCH_COMPLETED.
        for event in (Events.EPOCH_COMPLETED, Events.TERMINATE):
            self.add_event_handler(event, self._finish_postprocessing)

    def run(self, global_epoch: int = 1) -> None:  # type: ignore[override]
        """Go through all subjects.

        Raises:
            ValueError: at the end, when subjects have failed; it lists each with its reason.
        """
        self.failures = []
        try:
            if self.state.epoch_length == 0:
                self._run_without_subjects(global_epoch)
            else:
                super().run(global_epoch)
        except BaseException:
            # What is being written is written to its end; what goes wrong there is logged and must not hide this error.
            with suppress(Exception):
                self._finish_postprocessing()
            raise
        failures = gather_rows(self.failures)
        if failures:
            listed = "\n".join(f"  {subject}: {reason}" for subject, reason in failures)
            raise ValueError(f"{len(failures)} subject(s) failed, the others are done:\n{listed}")

    def _run_without_subjects(self, global_epoch: int) -> None:
        """Take part in what processes exchange, which those with subjects wait for: metrics and tables."""
        self.state.epoch = self.state.max_epochs = global_epoch
        for event in (Events.STARTED, Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
            self.fire_event(event)

    @abstractmethod
    def evaluate_subject(self, sample: dict[str, Any]) -> dict[str, Any] | None:
        """Return the output for one subject's sample (tensors without batch axis), or ``None`` if there is none."""

    def _iteration(self, engine: Any, batchdata: dict[str, Any]) -> dict:
        subject = str(batchdata["subject"][0])
        engine.state.output = {}
        try:
            if "error" in batchdata:
                raise ValueError(str(batchdata["error"][0]))
            engine.state.batch = decollate_batch(batchdata)[0]
            self.network.eval()
            with torch.no_grad():
                output = self.evaluate_subject(engine.state.batch)
            if output is not None:
                engine.state.output = output
                engine.fire_event(IterationEvents.FORWARD_COMPLETED)
                engine.fire_event(IterationEvents.MODEL_COMPLETED)
        except (ValueError, OSError, RuntimeError) as error:
            engine.state.output = {}
            self._finish_postprocessing()  # failures are listed in the order of the subjects
            self._fail(subject, error)
        else:
            self._finish_postprocessing()
            if self._overlapped is not None and engine.state.output:
                # A pool for one task: its thread ends with it, and the interpreter does not exit before.
                pool = ThreadPoolExecutor(1, thread_name_prefix="postprocessing")
                copies = dict(engine.state.batch), dict(engine.state.output)
                self._pending = subject, pool.submit(_postprocess, *copies, self._overlapped)
                pool.shutdown(wait=False)
        return engine.state.output

    def _finish_postprocessing(self) -> None:
        """Wait for the subject whose postprocessing goes on, if there is one."""
        if self._pending is not None:
            subject, future = self._pending
            error = future.exception()
            self._pending = None
            if error is not None:
                self._fail(subject, error)

    def _fail(self, subject: str, error: BaseException) -> None:
        """Note what is wrong with a subject, or raise an error that is not about its data."""
        cause = original_error(error)
        if not isinstance(cause, (ValueError, OSError)):
            self.logger.error(f"{subject} failed: {error}")
            raise error
        self.logger.error(f"{subject} failed: {cause}")
        self.failures.append((subject, str(cause)))


def _postprocess(sample: dict[str, Any], output: dict[str, Any], transform: Transform) -> None:
    # Nothing is returned: the volumes are let go as soon as they are done with, not when the subject is waited for.
    engine_apply_transform(sample, output, transform)
