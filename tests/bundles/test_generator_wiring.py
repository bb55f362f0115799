# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The generators' configurations do what they say; and each of a list of mistakes in them is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import wiring_generator as facts
from wiring import Mutant, Wiring, darken_the_left, drop, put, put_in, swap

from mri_phantom.brain import simulate_brain
from mri_phantom.breast import simulate_breast

GENERATORS = ("seq2seq_brats", "seq2seq_breast")
TINY = {
    "network_def#channels": [4, 8],
    "network_def#num_res_blocks": 1,
    "network_def#code_channels": 10,
    "network_def#weight_code_channels": 2,
    "device": "cpu",
    "num_workers": 0,
}
TRAINING = {
    "max_epochs": 3,
    "val_interval": 2,
    "val_slices": 12,
    "samples_per_subject": 1,
    "batch_size": 1,
    "ema_momentum": 0.25,
}


def flip_upsampling(content: dict[str, Any]) -> None:
    """Upsample at the other place, with weights of the same shapes."""
    network = content["network_def"]
    network["upsample"] = {"first": "last", "last": "first"}[network["upsample"]]


MUTANTS = {
    "no seed": Mutant("train", swap("$monai.utils.set_determinism(seed=@seed)", "$None"), facts.seeds_come_first),
    "a constant seed": Mutant("train", swap("determinism(seed=@seed)", "determinism(seed=3)"), facts.seeds_come_first),
    "no seed with several processes": Mutant(
        "multi_gpu_train", swap("$monai.utils.set_determinism(seed=@seed)", "$None"), facts.seeds_come_first
    ),
    "seeds after the training": Mutant("train", put("training#0", "$@network"), facts.seeds_come_first),
    "learning rate 10 times": Mutant("train", put("learning_rate", 2e-3), facts.optimizer_is_documented),
    "learning rate a tenth": Mutant("train", put("train#optimizer#lr", 2e-5), facts.optimizer_is_documented),
    "another optimizer": Mutant(
        "train", put("train#optimizer#_target_", "torch.optim.AdamW"), facts.optimizer_is_documented
    ),
    "gradients of any length": Mutant("train", put("train#trainer#gradient_clip", None), facts.optimizer_is_documented),
    "only the encoder trained": Mutant(
        "train", swap("$@network.parameters()", "$@network.encoder.parameters()"), facts.optimizer_is_documented
    ),
    "λ_r a tenth": Mutant("train", put("lambda_reconstruction", 1.0), facts.loss_is_ten_times_l1),
    "λ_r 100 times": Mutant("train", put("train#loss#lambda_reconstruction", 1000.0), facts.loss_is_ten_times_l1),
    "squared error": Mutant("train", put("train#loss#reconstruction", "mse"), facts.loss_is_ten_times_l1),
    "cycles by default": Mutant("train", put("lambda_cycle", 10.0), facts.loss_is_ten_times_l1),
    "the paper's without cycles": Mutant(
        "published", put("lambda_cycle", 0.0), facts.published_has_the_weights_of_the_paper
    ),
    "λ_p is λ_cyc": Mutant(
        "train", put("train#loss#lambda_perceptual", "@lambda_cycle"), facts.published_has_the_weights_of_the_paper
    ),
    "discriminators not trained": Mutant(
        "unpaired",
        swap("$@train#discriminators_on_device.parameters()", "$@network.parameters()"),
        facts.unpaired_trains_the_discriminators,
    ),
    "no schedule": Mutant("train", drop("train", "LrScheduleHandler"), facts.learning_rate_follows_a_cosine),
    "a schedule of twice the length": Mutant(
        "train", put("train#lr_scheduler#T_max", "$2 * @max_epochs"), facts.learning_rate_follows_a_cosine
    ),
    "no moving average": Mutant("train", swap("$[@train#ema, *", "$[*"), facts.average_follows_the_network),
    "another momentum": Mutant("train", put("train#ema#momentum", 0.02), facts.average_follows_the_network),
    "momentum 10 times": Mutant("train", put("ema_momentum", 0.02), facts.average_has_the_documented_momentum),
    "no validation": Mutant("train", drop("train", "ValidationHandler"), facts.validation_measures_the_average),
    "validation at another interval": Mutant(
        "train", swap("@val_interval", "$1"), facts.validation_measures_the_average
    ),
    "validation of the wrong network": Mutant(
        "train", put("validate#evaluator#network", "@network"), facts.validation_measures_the_average
    ),
    "validation on training subjects": Mutant(
        "train",
        put("validate#data#section", "training"),
        facts.validation_has_the_validation_subjects_as_inference_sees_them,
    ),
    "training on other intensities than inference": Mutant(
        "inference",
        put_in("normalize", "NormalizeSequencesd", "percentile", 90.0),
        facts.validation_has_the_validation_subjects_as_inference_sees_them,
    ),
    "the best weights are not the average": Mutant(
        "train", put("train#checkpoint#ema_network", None), facts.best_is_the_average_of_the_best_epoch
    ),
    "the best epoch is the last": Mutant(
        "train", put("train#checkpoint#evaluator", None), facts.last_has_what_a_resume_needs
    ),
    "the schedule is not saved": Mutant(
        "train", put("train#checkpoint#lr_scheduler", None), facts.last_has_what_a_resume_needs
    ),
    "the intensities are not said": Mutant(
        "train", put("train#checkpoint#normalize", None), facts.last_has_what_a_resume_needs
    ),
    "no history": Mutant("train", swap(", @train#history,", ","), facts.history_has_every_epoch),
    "a training is overwritten": Mutant(
        "train",
        swap("$@train#checkpoint.prepare(@train#trainer, resume=@resume)", "$None"),
        facts.a_training_is_not_overwritten,
    ),
    "the same samples in every epoch": Mutant("train", drop("train", "EpochSeed"), facts.every_epoch_has_other_samples),
    "training on testing subjects": Mutant(
        "train", put("train#data#section", "testing"), facts.samples_are_slices_of_the_training_subjects
    ),
    "another size": Mutant(
        "train", put("train#draw#slice_size", [24, 28]), facts.samples_are_slices_of_the_training_subjects
    ),
    "samples that are not normalised": Mutant(
        "train",
        put("normalize", {"_target_": "monai.transforms.Identityd", "keys": "image"}),
        facts.samples_are_slices_of_the_training_subjects,
    ),
    "no flips": Mutant("train", drop("train", "RandFlipd"), facts.half_of_the_samples_are_flipped),
    "all flipped": Mutant("train", put_in("train", "RandFlipd", "prob", 1.0), facts.half_of_the_samples_are_flipped),
    "flipped upside down": Mutant(
        "train", put_in("train", "RandFlipd", "spatial_axis", 1), facts.half_of_the_samples_are_flipped
    ),
    "samples of one seed": Mutant("train", put("train#dataset#seed", 7), facts.seed_decides_the_samples),
    "another upsampling in inference": Mutant(
        "inference", flip_upsampling, facts.network_of_training_and_inference_is_one
    ),
    "evaluation of random weights": Mutant(
        "evaluate", put("evaluator#network", "@network"), facts.evaluation_measures_the_best_weights
    ),
    "evaluation of the last weights": Mutant(
        "evaluate", put("checkpoint", "$@checkpoint_dir + '/last.pt'"), facts.evaluation_measures_the_best_weights
    ),
    "evaluation without maps": Mutant(
        "evaluate", put("evaluator#differentiation", False), facts.evaluation_measures_the_best_weights
    ),
    "evaluation of validation subjects": Mutant(
        "evaluate", put("section", "validation"), facts.evaluation_has_the_testing_subjects_with_what_was_withheld
    ),
    "evaluation without what was withheld": Mutant(
        "evaluate",
        put_in("preprocessing", "LoadImageSequencesd", "load_withheld", False),
        facts.evaluation_has_the_testing_subjects_with_what_was_withheld,
    ),
    "inference with random weights": Mutant(
        "inference",
        put("evaluator#network", "@network"),
        facts.inference_synthesises_what_is_missing_with_the_given_weights,
    ),
    "inference of what is there": Mutant(
        "inference", put("targets", "all"), facts.inference_synthesises_what_is_missing_with_the_given_weights
    ),
    "a target's own image among its sources": Mutant(
        "inference",
        put("translation#include_self", True),
        facts.inference_synthesises_what_is_missing_with_the_given_weights,
    ),
    "training in float32 only": Mutant(
        "train", put("train#trainer#autocast_dtype", None), facts.precision_reaches_training_and_inference
    ),
    "inference in float32 only": Mutant(
        "inference", put("translation#autocast_dtype", None), facts.precision_reaches_training_and_inference
    ),
}


@pytest.fixture(scope="session")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The options that name each bundle's cohort: two subjects to train on, one to validate, one to test."""
    folders = {name: tmp_path_factory.mktemp(name) / "data" for name in GENERATORS}
    simulate_brain(folders["seq2seq_brats"], shape=(36, 40, 32), spacing=5.0, splits=(2, 1, 1), missing=1)
    simulate_breast(folders["seq2seq_breast"], shape=(40, 34, 32), spacing=7.0, splits=(2, 1, 1))
    options: dict[str, dict[str, Any]] = {
        "seq2seq_brats": {"slice_size": [40, 44]},
        "seq2seq_breast": {"slice_size": [40, 36], "spacing": [7.0, 7.0, 7.0]},
    }
    for name, folder in folders.items():
        content = json.loads((folder / "datalist.json").read_text())
        darken_the_left(folder, content["training"])
        few = {"subject", "t1", "t1gd", "fatsat_t1"}  # a validation of all pairs of a breast takes seconds
        content["validation"] = [{key: entry[key] for key in entry if key in few} for entry in content["validation"]]
        content["testing"] = [withhold(entry, "t2") for entry in content["testing"]]
        (folder / "datalist.json").write_text(json.dumps(content))
        options[name]["dataset_dir"] = str(folder)
    return options


def withhold(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an entry of which one more sequence is silenced."""
    rest = {key: value for key, value in entry.items() if key != name}
    return rest | {"withheld": entry.get("withheld", {}) | ({name: entry[name]} if name in entry else {})}


@pytest.fixture(scope="session")
def make_wiring(
    repository, cohorts: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Wiring]:
    """Makes a bundle's wiring, with a mistake or without; what has none is made once."""
    shipped: dict[str, Wiring] = {}

    def make(name: str, mutant: Mutant | None = None) -> Wiring:
        if mutant is None and name in shipped:
            return shipped[name]
        folder = tmp_path_factory.mktemp("wiring")
        made = Wiring(repository / "bundles" / name, folder, TINY | cohorts[name], TRAINING, mutant)
        if mutant is None:
            shipped[name] = made
        return made

    return make


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("fact", facts.FACTS, ids=lambda fact: fact.__name__)
def test_shipped(make_wiring, name, fact) -> None:
    fact(make_wiring(name))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mistake_is_noticed(make_wiring, name, mutant) -> None:
    mistaken = make_wiring(name, MUTANTS[mutant])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        MUTANTS[mutant].fact(mistaken)


def test_every_fact_notices_a_mistake() -> None:
    assert {mutant.fact for mutant in MUTANTS.values()} == set(facts.FACTS)
