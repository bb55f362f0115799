# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How many inputs are tried: few in every run, ``HYPOTHESIS_PROFILE=long pytest tests/faults`` over two thousand."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
settings.register_profile("short", max_examples=30, derandomize=True, **COMMON)
settings.register_profile("long", max_examples=400, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "short"))
