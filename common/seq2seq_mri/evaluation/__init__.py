# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Evaluation, feature by feature: each with its equation, table, figure and page."""
