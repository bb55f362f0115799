# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Postprocessing one subject while the next is computed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from monai.engines.utils import engine_apply_transform

__all__ = ["BackgroundPostprocessing"]


class BackgroundPostprocessing:
    """Applies a transform to one subject at a time in a thread of its own.

    Only one subject is ever pending, so that at most its volumes are held beside those that are being computed.

    A data loader without workers loads the next subject meanwhile, with the same transforms that ``Invertd`` inverts.
    MONAI keeps what a transform has traced with the data, and whether it traces per thread, so they do not disturb
    each other; only, while one is inverted, the loading passes over keys that a sample has not.

    Args:
        transform: applied to the subject's sample and output together.
    """

    def __init__(self, transform: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        self._transform = transform
        self._pending: tuple[str, Future] | None = None

    def start(self, subject: str, sample: dict[str, Any], output: dict[str, Any]) -> None:
        """Begin with a subject; the one before must have been waited for.

        Args:
            subject: its name.
            sample: what was loaded; it is not changed.
            output: what was computed; it is not changed.
        """
        # A pool for one task: its thread ends with it, and the interpreter does not exit before.
        pool = ThreadPoolExecutor(1, thread_name_prefix="postprocessing")
        self._pending = subject, pool.submit(self._apply, dict(sample), dict(output))
        pool.shutdown(wait=False)

    def wait(self) -> tuple[str, BaseException] | None:
        """Wait until the pending subject is done; return its name and error if it failed, else ``None``."""
        if self._pending is None:
            return None
        subject, future = self._pending
        error = future.exception()
        self._pending = None
        return None if error is None else (subject, error)

    def _apply(self, sample: dict[str, Any], output: dict[str, Any]) -> None:
        # Nothing is returned: the volumes are let go as soon as they are done with, not when the subject is waited for.
        engine_apply_transform(sample, output, self._transform)
