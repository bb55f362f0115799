# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""From a subject's volume to translations of it, through a 2.5D or 3D generator."""
