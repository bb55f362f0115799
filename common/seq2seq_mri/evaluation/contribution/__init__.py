# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Totipotency C_t and imaging differentiation C_d of sequences (Eq. 4, Table 2)."""
