# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Makes ``dicom_writer`` importable: in importlib mode pytest adds no folder itself."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "transforms"))
