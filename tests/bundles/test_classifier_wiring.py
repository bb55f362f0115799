# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The classifier's configurations do what they say; and each of a list of mistakes in them is noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import wiring_classifier as facts
import wiring_generator as of_all
from wiring import Mutant, Wiring, darken_the_left, drop, mutants, put, put_in, swap

NAME = "differentiation_classifier"
TRAINING = {"max_epochs": 2}

#: Of each fact, the mistakes that it must notice: edits of train.json, or of another file that is named.
MISTAKES = {
    of_all.seeds_come_first: {"no seed": swap("$monai.utils.set_determinism(seed=@seed)", "$None")},
    facts.optimizer_is_documented: {
        "learning rate 10 times": put("learning_rate", 1e-2),
        "another optimizer": put("train#optimizer#_target_", "torch.optim.AdamW"),
        "weight decay": put("weight_decay", 0.1),
    },
    facts.loss_balances_the_classes: {
        "equal class weights": put("class_weights", None),
        "class weights of the validation": swap(
            "(@train#images.labels)", "([entry['label'] for entry in @validate#data])"
        ),
        "class weights not given": put("train#loss#class_weights", None),
    },
    facts.sections_have_their_subjects_and_labels: {
        "validation on training subjects": swap("section='validation'", "section='training'"),
        "training on both sections": swap("(section='training')", "(section=['training', 'validation'])"),
        "no subjects for the threshold": ("evaluate", swap("$[*@validate#data, *@data]", "@data")),
        "evaluation of training subjects": ("evaluate", put("section", "training")),
    },
    facts.images_are_those_of_inference: {
        "inference on another image": ("inference", put("inputs", ["flair", "t1gd_md"])),
        "inference of another size": (
            "inference",
            put_in("preprocessing", "ResizeWithPadOrCropd", "spatial_size", [24, 24, 24]),
        ),
        "inference on other maps": (
            "inference",
            put_in("preprocessing", "AddDifferentiationMapsd", "include_self", "$not @include_self"),
        ),
    },
    facts.channels_are_an_image_and_its_map: {
        "maps of all sequences but one": put_in(
            "prepare", "AddDifferentiationMapsd", "include_self", "$not @include_self"
        ),
        "two images": put("inputs", ["t1gd", "t1"]),
    },
    facts.training_images_are_augmented: {
        "no flips": drop("train", "RandFlipd"),
        "always flipped": put_in("train", "RandFlipd", "prob", 1.0),
        "no zooms": drop("train", "RandAffined"),
        "no other brightness": drop("train", "RandScaleIntensityd"),
        "no augmentation": put("train#dataset#transform", "$(lambda item: item)"),
    },
    facts.training_moves_the_network_and_measures_it: {
        "no validation": drop("train", "ValidationHandler"),
        "validation of another network": put(
            "validate#evaluator#network", {"_target_": "copy.deepcopy", "x": "@network"}
        ),
        "chosen by accuracy": swap("val_auc", "val_accuracy_of_training"),
    },
    facts.history_has_every_epoch: {
        "no history": swap(", @train#history,", ","),
        "no loss of the validation": put("validate#evaluator#additional_metrics", None),
    },
    facts.checkpoints_have_what_is_needed: {
        "no checkpoint": swap("@train#history, @train#checkpoint]", "@train#history]"),
        "the best epoch is the last": put("train#checkpoint#evaluator", None),
    },
    of_all.a_training_is_not_overwritten: {
        "a training is overwritten": swap("$@train#checkpoint.prepare(@train#trainer, resume=@resume)", "$None"),
    },
    of_all.every_epoch_has_other_samples: {"the same images in every epoch": drop("train", "EpochSeed")},
    facts.loss_that_is_not_finite_ends_the_training: {"training goes on with NaN": drop("train", "FiniteLoss")},
    facts.network_of_training_and_inference_is_one: {
        "another network in inference": ("inference", put("first_stride", 1))
    },
    of_all.evaluation_measures_the_best_weights: {
        "evaluation of random weights": ("evaluate", put("evaluator#network", "@network")),
        "evaluation of the last weights": ("evaluate", put("checkpoint", "$@checkpoint_dir + '/last.pt'")),
    },
    facts.inference_gives_probabilities_of_the_given_weights: {
        "inference with random weights": ("inference", put("evaluator#network", "@network")),
        "logits for probabilities": ("inference", put_in("postprocessing", "Activationsd", "sigmoid", False)),
    },
}
MUTANTS = mutants(MISTAKES)


@pytest.fixture(scope="session")
def options(classifier_runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Those of a cohort with three subjects of label 0 and one of label 1 to train on, dark on the left."""
    folder = tmp_path_factory.mktemp("imbalanced") / "data"
    shutil.copytree(classifier_runs.dataset_dir, folder)
    content = json.loads((folder / "datalist.json").read_text())
    by_label = [[entry for entry in content["training"] if entry["label"]["mgmt"] == label] for label in (0, 1)]
    content["training"] = by_label[0][:3] + by_label[1][:1]
    assert len(content["training"]) == 4
    darken_the_left(folder, content["training"])
    (folder / "datalist.json").write_text(json.dumps(content))
    return classifier_runs.options | {"dataset_dir": str(folder), "device": "cpu", "num_workers": 0}


@pytest.fixture(scope="session")
def make_wiring(repository, options, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Wiring]:
    """Makes the bundle's wiring, with a mistake or without; what has none is made once, and so are its images."""
    prepared = tmp_path_factory.mktemp("prepared")
    shipped: list[Wiring] = []

    def make(mutant: Mutant | None = None) -> Wiring:
        if mutant is None and shipped:
            return shipped[0]
        folder = tmp_path_factory.mktemp("wiring")
        # Images of a mistaken preparation are not mixed with others.
        other = mutant is not None and mutant.fact is facts.channels_are_an_image_and_its_map
        places = {"prepared_dir": str(folder / "prepared" if other else prepared)}
        made = Wiring(repository / "bundles" / NAME, folder, options | places, TRAINING, mutant)
        if mutant is None:
            shipped.append(made)
        return made

    return make


@pytest.mark.parametrize("fact", MISTAKES, ids=lambda fact: fact.__name__)
def test_shipped(make_wiring, fact) -> None:
    fact(make_wiring())


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mistake_is_noticed(make_wiring, mutant) -> None:
    mistaken = make_wiring(MUTANTS[mutant])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        MUTANTS[mutant].fact(mistaken)
