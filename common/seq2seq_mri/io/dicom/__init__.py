# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""DICOM: reading studies, recognising their series, writing derived series."""
