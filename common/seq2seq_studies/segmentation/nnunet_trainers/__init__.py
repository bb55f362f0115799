# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""A folder that nnU-Net searches for trainers; nothing here is imported without nnU-Net."""
