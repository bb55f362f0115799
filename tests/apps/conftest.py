# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Makes what the tests of the hosts share importable."""

from __future__ import annotations

import sys
from pathlib import Path

# In importlib mode pytest adds no folder itself.
sys.path.insert(0, str(Path(__file__).parent))
