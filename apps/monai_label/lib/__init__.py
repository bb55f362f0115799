# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The parts of the MONAI Label app; MONAI Label knows them under the name ``lib``."""
