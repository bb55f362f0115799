# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Figures of translations, contributions, differentiation maps, enhancement, image quality, training and classifiers.

Every function returns a matplotlib figure; :func:`save_figure` writes it.

Example:
    >>> save_figure(translation_grid(truth, predictions, subject="patient07"), "grid.png")  # doctest: +SKIP
"""

from __future__ import annotations

from seq2seq_mri.visualize.alphabet import alphabet_examples
from seq2seq_mri.visualize.classification import fold_metrics_forest
from seq2seq_mri.visualize.contribution import adjacency_heatmap, ranking_bars
from seq2seq_mri.visualize.differentiation import differentiation_overlay
from seq2seq_mri.visualize.differentiation_strip import differentiation_strip
from seq2seq_mri.visualize.enhancement import enhancement_curves
from seq2seq_mri.visualize.frames import FrameAxis, frame_axes, frame_axis
from seq2seq_mri.visualize.gradcam import gradcam_figure, gradcam_map
from seq2seq_mri.visualize.image_quality import metrics_boxplot, metrics_strip
from seq2seq_mri.visualize.learning_curve import learning_curve_figure
from seq2seq_mri.visualize.roc import mean_roc_curves, roc_curves
from seq2seq_mri.visualize.slices import informative_slice
from seq2seq_mri.visualize.style import save_figure
from seq2seq_mri.visualize.synthesis import synthesis_panel
from seq2seq_mri.visualize.training import training_curves, training_grid
from seq2seq_mri.visualize.translation import translation_grid

__all__ = [
    "FrameAxis",
    "adjacency_heatmap",
    "alphabet_examples",
    "differentiation_overlay",
    "differentiation_strip",
    "enhancement_curves",
    "fold_metrics_forest",
    "frame_axes",
    "frame_axis",
    "gradcam_figure",
    "gradcam_map",
    "informative_slice",
    "learning_curve_figure",
    "mean_roc_curves",
    "metrics_boxplot",
    "metrics_strip",
    "ranking_bars",
    "roc_curves",
    "save_figure",
    "synthesis_panel",
    "training_curves",
    "training_grid",
    "translation_grid",
]
