# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Errors that a client of the server can understand and mend.

MONAI Label answers every exception with status 500 and no word of what it was; only FastAPI's HTTPException reaches the
client.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import requests
from fastapi import HTTPException
from monailabel.interfaces.exception import MONAILabelException

__all__ = ["as_responses"]

logger = logging.getLogger(__name__)

# The first that fits counts.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (requests.RequestException, 502),
    (FileNotFoundError, 404),
    (FileExistsError, 409),
    (ValueError, 400),
    (MONAILabelException, 400),
)


@contextmanager
def as_responses() -> Iterator[None]:
    """Turn what is wrong with a request into an answer with its message.

    What does not exist is 404, what would be overwritten 409, anything else that the request or the files that it names
    have wrong 400, a DICOMweb server that does not answer 502. Other exceptions are errors of the server: 500.

    Raises:
        HTTPException: instead of an exception that has a status.
    """
    try:
        yield
    except HTTPException:
        raise
    except Exception as error:
        origin = _origin(error)
        status = next((status for kind, status in _STATUS if isinstance(origin, kind)), None)
        if status is None:
            raise
        message = getattr(origin, "msg", None) or str(origin)
        logger.warning(f"Answered {status}: {message}", exc_info=error)
        raise HTTPException(status, message) from error


def _origin(error: BaseException) -> BaseException:
    """Return the error that MONAI's configuration parser and Compose have wrapped into RuntimeErrors."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:
        error = error.__cause__
    return error
