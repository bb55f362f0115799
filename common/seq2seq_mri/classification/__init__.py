# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""How classifiers are compared fairly: protocols that train, choose and test, whatever the classifier is."""

from __future__ import annotations

from seq2seq_mri.classification.add_differentiation import AddDifferentiationMapsd
from seq2seq_mri.classification.alphabet_experiment import AlphabetExperiment
from seq2seq_mri.classification.classifier_fit import ClassifierFit
from seq2seq_mri.classification.clinical_experiment import ClinicalExperiment
from seq2seq_mri.classification.fitting import FitPredict
from seq2seq_mri.classification.folds import ProtocolTables, run_folds
from seq2seq_mri.classification.generator_bundle import TrainedGenerator, load_generator_bundle
from seq2seq_mri.classification.learning_curve import run_learning_curve
from seq2seq_mri.classification.protocols import run_nested_cross_validation, run_train_validation_test

__all__ = [
    "AddDifferentiationMapsd",
    "AlphabetExperiment",
    "ClassifierFit",
    "ClinicalExperiment",
    "FitPredict",
    "ProtocolTables",
    "TrainedGenerator",
    "load_generator_bundle",
    "run_folds",
    "run_learning_curve",
    "run_nested_cross_validation",
    "run_train_validation_test",
]
