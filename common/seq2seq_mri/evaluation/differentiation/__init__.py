# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Imaging-differentiation maps M_d (Eq. 5)."""
