# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Parts shared by all figures: style, grids of image panels, choice of slices, axes of timepoints.

A function that draws returns the figure, and :func:`seq2seq_mri.plots.style.save_figure` writes it.
"""
