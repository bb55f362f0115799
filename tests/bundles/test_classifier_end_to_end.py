# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The bundle differentiation_classifier: training, evaluation, inference, experiments."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from monai.bundle import ConfigParser

QUICK = {"max_epochs": 2, "num_workers": 0}


@pytest.fixture(scope="session")
def trained(classifier_runs, tmp_path_factory) -> Path:
    """The output folder of a training and its evaluation."""
    folder = tmp_path_factory.mktemp("classifier")
    for kind in ("train", "evaluate"):
        assert classifier_runs.run(kind, output_dir=str(folder), **QUICK).check_properties() == []
    return folder


@pytest.mark.parametrize("kind", ["train", "evaluate"])
def test_no_property_is_missing_in_the_demonstration(classifier_runs, trained, tmp_path, kind) -> None:
    workflow = classifier_runs.workflow(
        kind,
        ("demo.json",),
        output_dir=str(tmp_path),
        dataset_dir=str(classifier_runs.dataset_dir),
        # Preparing the images again takes long; demo.json pads slices otherwise for the generator.
        prepared_dir=str(trained / "prepared"),
        generator_options={},
        checkpoint=str(trained / "checkpoints" / "best.pt"),
    )
    assert workflow.check_properties() == []
    workflow.finalize()


def test_inference_gives_the_probabilities_of_the_evaluation_whatever_happens_to_others(
    classifier_runs, trained, tmp_path
) -> None:
    content = json.loads((classifier_runs.dataset_dir / "datalist.json").read_text())
    del content["testing"][1]["t1gd"]
    (tmp_path / "datalist.json").write_text(json.dumps(content))
    options = {"output_dir": str(tmp_path / "out"), "checkpoint": str(trained / "checkpoints" / "best.pt")}
    error = classifier_runs.error(
        classifier_runs.run, "inference", datalist=str(tmp_path / "datalist.json"), figures=False, **options
    )
    assert content["testing"][1]["subject"] in str(error)
    assert "does not have the sequence 't1gd'" in str(error)
    assert len(pd.read_csv(tmp_path / "out" / "predictions.csv")) == 3
    assert classifier_runs.run("inference", existing="skip", **options).check_properties() == []

    found = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("subject")["probability"]
    evaluated = pd.read_csv(trained / "evaluation" / "predictions.csv")
    assert evaluated["section"].value_counts().to_dict() == {"validation": 4, "testing": 4}
    expected = evaluated[evaluated["section"] == "testing"].set_index("subject")["probability"]
    # Training and evaluation keep their images in half precision.
    pd.testing.assert_series_equal(found.sort_index(), expected.sort_index(), atol=2e-3, rtol=0)
    assert len(list((tmp_path / "out").glob("*/*_gradcam.png"))) == 1
    error = classifier_runs.error(classifier_runs.run, "inference", **options)
    assert isinstance(error, FileExistsError)
    assert "has 4 of these subjects already" in str(error)


def test_a_resumed_training_gives_the_same_weights(classifier_runs, trained, tmp_path) -> None:
    # The maps are those that the first training computed.
    places = {"output_dir": str(tmp_path), "prepared_dir": str(trained / "prepared")}
    classifier_runs.run("train", **places, **QUICK | {"max_epochs": 1})
    classifier_runs.run("train", **places, **QUICK, resume=True)
    expected, found = (torch.load(folder / "checkpoints" / "last.pt")["network"] for folder in (trained, tmp_path))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_classifier_of_images_alone_needs_no_maps(classifier_runs, tmp_path) -> None:
    classifier_runs.run("train", output_dir=str(tmp_path), inputs=["t1gd", "flair"], **QUICK | {"max_epochs": 1})
    assert list((tmp_path / "prepared").glob("*.image.npy"))
    assert not list((tmp_path / "prepared").glob("*.differentiation.npy"))
    weights = torch.load(tmp_path / "checkpoints" / "best.pt")
    assert weights["conv1.weight"].shape[1] == 2


def test_crops_to_the_lesion(classifier_runs, trained, tmp_path) -> None:
    options = {"prepared_dir": str(tmp_path), "crop_to_lesion": True, "spatial_size": [9, 11, 7], "inputs": ["t1gd"]}
    workflow = classifier_runs.workflow("train", output_dir=str(tmp_path / "output"), **options)
    cropped = workflow.parser.get_parsed_content("train#prepared")[0]["image"]
    whole = classifier_runs.workflow(
        "train", output_dir=str(tmp_path / "whole"), prepared_dir=str(trained / "prepared")
    ).parser.get_parsed_content("train#prepared")[0]["image"]
    assert cropped.shape == (4, 9, 11, 7)
    # The lesion's own voxels, with the intensities that they have in the whole image.
    windows = whole.unfold(1, 9, 1).unfold(2, 11, 1).unfold(3, 7, 1)
    differences = (windows - cropped[:, None, None, None]).abs().amax(dim=(0, 4, 5, 6))
    assert float(differences.min()) == 0


@pytest.mark.parametrize(
    ("changed", "kind", "message"),
    [
        ({"generator_dir": "nowhere"}, FileNotFoundError, "There is no generator bundle nowhere"),
        ({"label": "idh"}, ValueError, "has no label 'idh'; it has mgmt"),
        ({"labels": "nowhere.csv"}, FileNotFoundError, "nowhere.csv"),
        ({"shortcut_type": "B", "pretrained": "resnet_18.pth"}, ValueError, "set these, or leave out pretrained"),
    ],
)
def test_mistakes_are_named(classifier_runs, tmp_path, monkeypatch, changed, kind, message) -> None:
    monkeypatch.chdir(tmp_path)
    error = classifier_runs.error(classifier_runs.run, "train", output_dir=str(tmp_path / "output"), **QUICK | changed)
    assert isinstance(error, kind)
    assert message in str(error)


def test_alphabet_experiment_goes_on_where_it_was(repository, tmp_path) -> None:
    """Generator, maps, learning curves; a second run computes nothing and gives the same tables."""
    configs = repository / "bundles" / "differentiation_classifier" / "configs"
    tiny = {
        "output_dir": str(tmp_path),
        "shape": [32, 35],
        "generator_subjects": 4,
        "generator_epochs": 1,
        "sizes": [3, 5],
        "validation_subjects": 3,
        "test_subjects": 3,
        "max_epochs": 1,
        "widen_factor": 0.0625,
    }
    written = []
    for _ in range(2):
        parser = ConfigParser()
        names = ("alphabet_generator", "alphabet", "alphabet_reduced")
        parser.read_config([str(configs / f"{name}.json") for name in names])
        parser.update(tiny)
        for expression in range(len(parser["training"])):
            parser.get_parsed_content(f"training#{expression}")
        files = [tmp_path / "generator" / "last.pt", tmp_path / "learning_curve.csv"]
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]
    assert len(pd.read_csv(tmp_path / "learning_curve.csv")) == 2 * 2 * 2
    assert len(pd.read_csv(tmp_path / "generator" / "history.csv")) == 1


@pytest.mark.slow
def test_nested_cross_validation(classifier_runs, trained, tmp_path) -> None:
    """All six input combinations of Table 4, each patient tested once."""
    names = ["t1", "t1gd", "t2", "flair", "t1_md", "t1gd_md", "t2_md", "flair_md"]
    options = {"output_dir": str(tmp_path), "outer_folds": 2, "inner_folds": 2, **QUICK, "max_epochs": 1}
    classifier_runs.run("train", ("mgmt.json",), inputs=names, spatial_size=[16, 16, 16], **options)
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    testing = predictions[predictions["section"] == "testing"]
    assert testing["inputs"].nunique() == 6
    assert (testing.groupby("inputs")["patient"].nunique() == 14).all()
    assert (testing.groupby("inputs")["patient"].count() == 14).all()
    assert len(pd.read_csv(tmp_path / "comparison.csv")) == 2
    for name in ("metrics.csv", "summary.csv", "results.md", "roc.png", "metrics.png"):
        assert (tmp_path / name).stat().st_size > 0
    assert list((tmp_path / "trainings").iterdir()) == []


@pytest.mark.slow
def test_response_from_a_breast_cohort(classifier_runs, breast_runs, make_generator_bundle, tmp_path) -> None:
    """Wash-in and wash-out, computed from DCE, with and without their M_d, in two divisions."""
    classifier_runs_of_breast = {
        "dataset_dir": str(tmp_path / "data"),
        "generator_dir": str(make_generator_bundle(breast_runs, tmp_path)),
        "simulate#shape": [40, 34, 32],
        "simulate#spacing": 7.0,
        "simulate#splits": [0, 0, 10],
        "simulate#seed": 1001,  # six of label 1 and four of label 0
        "repeats": 2,
        # Coarser than the images: their maps are what takes long.
        "spacing": [12.0, 12.0, 12.0],
        "generator_options": {"spacing": [12.0, 12.0, 12.0], "slice_size": [24, 24]},
        "spatial_size": [16, 16, 16],
        "output_dir": str(tmp_path / "output"),
        **QUICK,
        "max_epochs": 1,
    }
    classifier_runs.run("train", ("pcr.json", "pcr_demo.json"), **classifier_runs_of_breast)
    predictions = pd.read_csv(tmp_path / "output" / "predictions.csv")
    assert predictions["inputs"].unique().tolist() == ["Wash-in", "Wash-in + M_d", "Wash-out", "Wash-out + M_d"]
    assert predictions["section"].value_counts().to_dict() == {"validation": 2 * 4 * 2, "testing": 2 * 4 * 2}
    summary = (tmp_path / "output" / "results.md").read_text()
    assert summary.count("±") >= 4 * 2  # AUC and accuracy at least, of every combination
    assert (tmp_path / "output" / "roc.png").stat().st_size > 0
