# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The classifier's configurations do what they say; and each of a list of mistakes in them is noticed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import wiring_classifier as facts
from wiring import Mutant, Wiring, darken_the_left, drop, put, put_in, swap

NAME = "differentiation_classifier"
TRAINING = {"max_epochs": 2}

MUTANTS = {
    "no seed": Mutant("train", swap("$monai.utils.set_determinism(seed=@seed)", "$None"), facts.seeds_come_first),
    "learning rate 10 times": Mutant("train", put("learning_rate", 1e-2), facts.optimizer_is_documented),
    "another optimizer": Mutant(
        "train", put("train#optimizer#_target_", "torch.optim.AdamW"), facts.optimizer_is_documented
    ),
    "weight decay": Mutant("train", put("weight_decay", 0.1), facts.optimizer_is_documented),
    "equal class weights": Mutant("train", put("class_weights", None), facts.loss_balances_the_classes),
    "class weights of the validation": Mutant(
        "train",
        swap("(@train#images.labels)", "([entry['label'] for entry in @validate#data])"),
        facts.loss_balances_the_classes,
    ),
    "class weights not given": Mutant("train", put("train#loss#class_weights", None), facts.loss_balances_the_classes),
    "validation on training subjects": Mutant(
        "train", swap("section='validation'", "section='training'"), facts.sections_have_their_subjects_and_labels
    ),
    "training on both sections": Mutant(
        "train",
        swap("(section='training')", "(section=['training', 'validation'])"),
        facts.sections_have_their_subjects_and_labels,
    ),
    "no subjects for the threshold": Mutant(
        "evaluate", swap("$[*@validate#data, *@data]", "@data"), facts.sections_have_their_subjects_and_labels
    ),
    "evaluation of training subjects": Mutant(
        "evaluate", put("section", "training"), facts.sections_have_their_subjects_and_labels
    ),
    "inference on another image": Mutant(
        "inference", put("inputs", ["flair", "t1gd_md"]), facts.images_are_those_of_inference
    ),
    "inference of another size": Mutant(
        "inference",
        put_in("preprocessing", "ResizeWithPadOrCropd", "spatial_size", [24, 24, 24]),
        facts.images_are_those_of_inference,
    ),
    "inference on other maps": Mutant(
        "inference",
        put_in("preprocessing", "AddDifferentiationMapsd", "include_self", "$not @include_self"),
        facts.images_are_those_of_inference,
    ),
    "maps of all sequences but one": Mutant(
        "train",
        put_in("prepare", "AddDifferentiationMapsd", "include_self", "$not @include_self"),
        facts.channels_are_an_image_and_its_map,
    ),
    "two images": Mutant("train", put("inputs", ["t1gd", "t1"]), facts.channels_are_an_image_and_its_map),
    "no flips": Mutant("train", drop("train", "RandFlipd"), facts.training_images_are_augmented),
    "always flipped": Mutant("train", put_in("train", "RandFlipd", "prob", 1.0), facts.training_images_are_augmented),
    "no zooms": Mutant("train", drop("train", "RandAffined"), facts.training_images_are_augmented),
    "no other brightness": Mutant("train", drop("train", "RandScaleIntensityd"), facts.training_images_are_augmented),
    "no augmentation": Mutant(
        "train", put("train#dataset#transform", "$(lambda item: item)"), facts.training_images_are_augmented
    ),
    "no validation": Mutant(
        "train", drop("train", "ValidationHandler"), facts.training_moves_the_network_and_measures_it
    ),
    "validation of another network": Mutant(
        "train",
        put("validate#evaluator#network", {"_target_": "copy.deepcopy", "x": "@network"}),
        facts.training_moves_the_network_and_measures_it,
    ),
    "chosen by accuracy": Mutant(
        "train", swap("val_auc", "val_accuracy_of_training"), facts.training_moves_the_network_and_measures_it
    ),
    "no history": Mutant("train", swap(", @train#history,", ","), facts.history_has_every_epoch),
    "no loss of the validation": Mutant(
        "train", put("validate#evaluator#additional_metrics", None), facts.history_has_every_epoch
    ),
    "no checkpoint": Mutant(
        "train", swap("@train#history, @train#checkpoint]", "@train#history]"), facts.checkpoints_have_what_is_needed
    ),
    "the best epoch is the last": Mutant(
        "train", put("train#checkpoint#evaluator", None), facts.checkpoints_have_what_is_needed
    ),
    "a training is overwritten": Mutant(
        "train",
        swap("$@train#checkpoint.prepare(@train#trainer, resume=@resume)", "$None"),
        facts.a_training_is_not_overwritten,
    ),
    "the same images in every epoch": Mutant("train", drop("train", "EpochSeed"), facts.every_epoch_has_other_samples),
    "training goes on with NaN": Mutant(
        "train", drop("train", "FiniteLoss"), facts.loss_that_is_not_finite_ends_the_training
    ),
    "another network in inference": Mutant(
        "inference", put("first_stride", 1), facts.network_of_training_and_inference_is_one
    ),
    "evaluation of random weights": Mutant(
        "evaluate", put("evaluator#network", "@network"), facts.evaluation_tests_the_best_weights
    ),
    "evaluation of the last weights": Mutant(
        "evaluate", put("checkpoint", "$@checkpoint_dir + '/last.pt'"), facts.evaluation_tests_the_best_weights
    ),
    "inference with random weights": Mutant(
        "inference", put("evaluator#network", "@network"), facts.inference_gives_probabilities_of_the_given_weights
    ),
    "logits for probabilities": Mutant(
        "inference",
        put_in("postprocessing", "Activationsd", "sigmoid", False),
        facts.inference_gives_probabilities_of_the_given_weights,
    ),
}


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
    rest = {key: value for key, value in classifier_runs.options.items() if key != "bundle_root"}
    return rest | {"dataset_dir": str(folder), "device": "cpu", "num_workers": 0}


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


@pytest.mark.parametrize("fact", facts.FACTS, ids=lambda fact: fact.__name__)
def test_shipped(make_wiring, fact) -> None:
    fact(make_wiring())


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mistake_is_noticed(make_wiring, mutant) -> None:
    mistaken = make_wiring(MUTANTS[mutant])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        MUTANTS[mutant].fact(mistaken)


def test_every_fact_notices_a_mistake() -> None:
    assert {mutant.fact for mutant in MUTANTS.values()} == set(facts.FACTS)
