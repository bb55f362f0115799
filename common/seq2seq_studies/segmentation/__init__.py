# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Segmentation with fewer sequences: does a subset, or a synthesised sequence, do as well as all (Table 3)?"""
