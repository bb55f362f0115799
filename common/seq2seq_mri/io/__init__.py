# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Input and output: NIfTI and DICOM volumes, timepoints, datalists, saving."""
