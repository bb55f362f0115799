# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The generators' configurations do what they say; and each of a list of mistakes in them is noticed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import wiring_generator as facts
from wiring import Mutant, Wiring, darken_the_left, drop, keep_slices, mutants, put, put_in, swap

from mri_phantom.brain import SimulateBrain
from mri_phantom.breast import SimulateBreast

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


#: Of each fact, the mistakes that it must notice: edits of train.json, or of another file that is named.
MISTAKES = {
    facts.seeds_come_first: {
        "no seed": swap("$monai.utils.set_determinism(seed=@seed)", "$None"),
        "a constant seed": swap("determinism(seed=@seed)", "determinism(seed=3)"),
        "no seed with several processes": (
            "multi_gpu_train",
            swap("$monai.utils.set_determinism(seed=@seed)", "$None"),
        ),
        "seeds after the training": put("training#0", "$@network"),
    },
    facts.optimizer_is_documented: {
        "learning rate 10 times": put("learning_rate", 2e-3),
        "learning rate a tenth": put("train#optimizer#lr", 2e-5),
        "another optimizer": put("train#optimizer#_target_", "torch.optim.AdamW"),
        "gradients of any length": put("train#trainer#gradient_clip", None),
        "only the encoder trained": swap("$@network.parameters()", "$@network.encoder.parameters()"),
    },
    facts.loss_is_ten_times_l1: {
        "λ_r a tenth": put("lambda_reconstruction", 1.0),
        "λ_r 100 times": put("train#loss#lambda_reconstruction", 1000.0),
        "squared error": put("train#loss#reconstruction", "mse"),
        "cycles by default": put("lambda_cycle", 10.0),
    },
    facts.published_has_the_weights_of_the_paper: {
        "the paper's without cycles": ("published", put("lambda_cycle", 0.0)),
        "λ_p is λ_cyc": put("train#loss#lambda_perceptual", "@lambda_cycle"),
    },
    facts.unpaired_trains_the_discriminators: {
        "discriminators not trained": (
            "unpaired",
            swap("$@train#discriminators_on_device.parameters()", "$@network.parameters()"),
        ),
    },
    facts.learning_rate_follows_a_cosine: {
        "no schedule": drop("train", "LrScheduleHandler"),
        "a schedule of twice the length": put("train#lr_scheduler#T_max", "$2 * @max_epochs"),
    },
    facts.average_follows_the_network: {
        "no moving average": swap("$[@train#ema, *", "$[*"),
        "another momentum": put("train#ema#momentum", 0.02),
    },
    facts.average_has_the_documented_momentum: {"momentum 10 times": put("ema_momentum", 0.02)},
    facts.validation_measures_the_average: {
        "no validation": drop("train", "ValidationHandler"),
        "validation at another interval": swap("@val_interval", "$1"),
        "validation of the wrong network": put("validate#evaluator#network", "@network"),
    },
    facts.validation_has_the_validation_subjects_as_inference_sees_them: {
        "validation on training subjects": put("validate#data", "@train#data"),
        "training on other intensities than inference": (
            "inference",
            put_in("normalize", "NormalizeSequencesd", "percentile", 90.0),
        ),
    },
    facts.best_is_the_average_of_the_best_epoch: {
        "the best weights are not the average": put("train#checkpoint#ema_network", None)
    },
    facts.last_has_what_a_resume_needs: {
        "the best epoch is the last": put("train#checkpoint#evaluator", None),
        "the schedule is not saved": put("train#checkpoint#lr_scheduler", None),
        "the intensities are not said": put("train#checkpoint#normalize", None),
    },
    facts.history_has_every_epoch: {"no history": swap(", @train#history,", ",")},
    facts.a_training_is_not_overwritten: {
        "a training is overwritten": swap("$@train#checkpoint.prepare(@train#trainer, resume=@resume)", "$None"),
    },
    facts.every_epoch_has_other_samples: {"the same samples in every epoch": drop("train", "EpochSeed")},
    facts.samples_are_slices_of_the_training_subjects: {
        "training on testing subjects": put("train#data", "$@read_section(section='testing')"),
        "another size": put("train#draw#slice_size", [24, 28]),
        "samples that are not normalised": put(
            "normalize", {"_target_": "monai.transforms.Identityd", "keys": "image"}
        ),
    },
    facts.half_of_the_samples_are_flipped: {
        "no flips": drop("train", "RandFlipd"),
        "all flipped": put_in("train", "RandFlipd", "prob", 1.0),
        "flipped upside down": put_in("train", "RandFlipd", "spatial_axis", 1),
    },
    facts.seed_decides_the_samples: {"samples of one seed": put("train#dataset#seed", 7)},
    facts.network_of_training_and_inference_is_one: {"another upsampling in inference": ("inference", flip_upsampling)},
    facts.evaluation_measures_the_best_weights: {
        "evaluation of random weights": ("evaluate", put("evaluator#network", "@network")),
        "evaluation of the last weights": ("evaluate", put("checkpoint", "$@checkpoint_dir + '/last.pt'")),
    },
    facts.evaluation_is_of_all_pairs_with_maps: {
        "evaluation without maps": ("evaluate", put("evaluator#differentiation", False)),
    },
    facts.evaluation_has_the_testing_subjects_with_what_was_withheld: {
        "evaluation of validation subjects": ("evaluate", put("section", "validation")),
        "evaluation without what was withheld": (
            "evaluate",
            put_in("preprocessing", "LoadImageSequencesd", "load_withheld", False),
        ),
    },
    facts.inference_synthesises_what_is_missing_with_the_given_weights: {
        "inference with random weights": ("inference", put("evaluator#network", "@network")),
        "inference of what is there": ("inference", put("targets", "all")),
        "a target's own image among its sources": ("inference", put("translation#include_self", True)),
    },
    facts.precision_reaches_training_and_inference: {
        "training in float32 only": put("train#trainer#autocast_dtype", None),
        "inference in float32 only": ("inference", put("translation#autocast_dtype", None)),
    },
}
MUTANTS = mutants(MISTAKES)


@pytest.fixture(scope="session")
def cohorts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The options that name each bundle's cohort: two subjects to train on, one to validate, one to test."""
    folders = {name: tmp_path_factory.mktemp(name) / "data" for name in GENERATORS}
    SimulateBrain(folders["seq2seq_brats"], shape=(36, 40, 32), spacing=5.0, splits=(2, 1, 1), missing=1)()
    SimulateBreast(folders["seq2seq_breast"], shape=(40, 34, 32), spacing=7.0, splits=(2, 1, 1))()
    options: dict[str, dict[str, Any]] = {
        "seq2seq_brats": {"slice_size": [40, 44]},
        "seq2seq_breast": {"slice_size": [40, 36], "spacing": [7.0, 7.0, 7.0]},
    }
    for name, folder in folders.items():
        keep_slices(folder, 12, 23)
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
@pytest.mark.parametrize("fact", MISTAKES, ids=lambda fact: fact.__name__)
def test_shipped(make_wiring, name, fact) -> None:
    fact(make_wiring(name))


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_mistake_is_noticed(make_wiring, name, mutant) -> None:
    mistaken = make_wiring(name, MUTANTS[mutant])
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        MUTANTS[mutant].fact(mistaken)
