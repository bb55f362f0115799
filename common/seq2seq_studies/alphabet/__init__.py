# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The alphabet task: two letters per image, M_d, and a classifier that reads them (section 4.1)."""
