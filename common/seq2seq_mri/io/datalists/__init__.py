# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Datalists: finding and checking the images of a cohort, dividing its subjects, and reading their labels."""
