# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Inference: a subject's volumes through a generator or classifier, and what is written of them."""
