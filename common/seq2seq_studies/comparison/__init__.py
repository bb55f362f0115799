# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Generators side by side: the same cohort, the same budget, the same measures (Table 1)."""
