# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Simulated MRI cohorts with a known truth about what only one sequence shows."""
