# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Datalists: finding the images of a cohort, checking them, dividing the subjects, and their labels."""
