# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Evaluation, one folder for each feature: its measures, and the tables and figures of them."""
