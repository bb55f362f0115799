# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Cross-validation and testing of classifiers (Table 4)."""
