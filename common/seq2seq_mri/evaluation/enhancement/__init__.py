# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The course of the signal along a 4D sequence, measured and synthesised."""
