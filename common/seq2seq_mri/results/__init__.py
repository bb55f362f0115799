# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Pages of results, made by the commands whose results they show."""
