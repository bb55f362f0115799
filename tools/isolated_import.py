# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Makes an interpreter take seq2seq_mri from one folder only, as if the package were not installed.

:mod:`isolation` copies this file as ``sitecustomize.py``, which Python imports when it starts, and
which the processes that it starts import too. It therefore stands alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

__all__ = ["FOLDER_VARIABLE", "RECORD_VARIABLE"]

_NAME = "seq2seq_mri"
FOLDER_VARIABLE = "SEQ2SEQ_MRI_ONLY_FROM"
RECORD_VARIABLE = "SEQ2SEQ_MRI_ONLY_FROM_RECORD"


class _OnlyFrom:
    """Finds the package below a folder, on the search path, or refuses it; asked before all other finders."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != _NAME:
            return None
        folder = os.path.realpath(os.environ[FOLDER_VARIABLE])
        allowed = [
            entry for entry in sys.path if os.path.commonpath([folder, os.path.realpath(entry or os.curdir)]) == folder
        ]
        spec = PathFinder.find_spec(name, allowed)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"No module named {name!r} in {folder}", name=name)
        with open(os.environ[RECORD_VARIABLE], "a", encoding="utf-8") as record:
            record.write(f"{spec.origin}\n")
        return spec


if FOLDER_VARIABLE in os.environ:
    sys.meta_path.insert(0, _OnlyFrom)  # type: ignore[arg-type]
