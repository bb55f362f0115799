# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Makes the benchmarks importable, as ``python benchmarks/forward.py`` does: their folder is no package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
