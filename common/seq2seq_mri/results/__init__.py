# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What all experiments do with results: claim a folder for their protocol, describe the machine, write a page."""
