# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Studies around the core: methods side by side, segmentation with fewer sequences, cross-validation, the alphabet."""
