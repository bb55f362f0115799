# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Inference and evaluation: engines that pass subjects through a network, and the reports of what comes out."""
