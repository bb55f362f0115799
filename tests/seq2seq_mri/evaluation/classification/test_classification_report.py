# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""What evaluation and inference of a classifier write, without a bundle."""

from __future__ import annotations

from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from monai.data import DataLoader
from torch import nn

from seq2seq_mri.evaluation.classification.classification_metrics import (
    binary_metrics,
    read_predictions,
    youden_threshold,
)
from seq2seq_mri.evaluation.classification.classification_report import ClassificationReport
from seq2seq_mri.evaluation.classification.classifier_evaluator import LogitInferer
from seq2seq_mri.inference.subject_classifier import PredictionReport, SubjectClassifier

SEQUENCES = {"t1": 1, "dce": 2}
INPUTS = ["dce", "t1_md"]


def brightness() -> nn.Module:
    """A network whose logit is the mean of the first channel."""
    layer4 = nn.Conv3d(3, 1, 1, bias=False)
    layer4.weight.data = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1, 1)
    return nn.Sequential(OrderedDict(layer4=layer4, pool=nn.AdaptiveAvgPool3d(1), logit=nn.Flatten()))


def sample(number: int) -> dict:
    random = torch.Generator().manual_seed(number)
    image = torch.rand(3, 9, 7, 5, generator=random)
    image[0] += float(torch.randn((), generator=random))
    return {"subject": f"p{number}", "image": image}


def entries(numbers: range) -> list[dict]:
    return [{"subject": f"p{n}", "patient": f"p{n}", "label": n % 2} for n in numbers]


VALIDATION, TESTING = entries(range(6)), entries(range(6, 17))


def classify(report, samples: list[dict]) -> None:
    SubjectClassifier(
        report=report,
        device=torch.device("cpu"),
        val_data_loader=DataLoader(samples, batch_size=1),
        network=brightness(),
        inferer=LogitInferer(),
        val_handlers=[report],
    ).run()


def expected(number: int) -> float:
    return float(torch.sigmoid(sample(number)["image"][0].mean()))


def test_evaluation_measures_at_the_threshold_of_the_validation(tmp_path) -> None:
    report = ClassificationReport(tmp_path, INPUTS, SEQUENCES, VALIDATION, TESTING, figure_subjects=3)
    classify(report, [sample(number) for number in range(17)])
    predictions = read_predictions(tmp_path / "predictions.csv")
    assert predictions["inputs"].unique().tolist() == ["dce+t1_md"]
    np.testing.assert_allclose(predictions["probability"], [expected(number) for number in range(17)], rtol=1e-5)
    threshold = youden_threshold([0, 1] * 3, [expected(number) for number in range(6)])
    np.testing.assert_allclose(predictions["threshold"], threshold, rtol=1e-5)
    metrics = pd.read_csv(tmp_path / "metrics.csv").iloc[0]
    truth = binary_metrics([n % 2 for n in range(6, 17)], [expected(n) for n in range(6, 17)], threshold)
    for name, value in truth.items():
        assert metrics[name] == pytest.approx(value, nan_ok=True), name
    assert all((tmp_path / name).stat().st_size > 0 for name in ("roc.png", "gradcam.png"))
    assert len(report.cases) == 3


def test_an_evaluation_is_not_overwritten_silently_and_tests_nobody_it_validates(tmp_path) -> None:
    with pytest.raises(ValueError, match="Subject p3 is in the validation section"):
        ClassificationReport(tmp_path, INPUTS, SEQUENCES, VALIDATION, entries(range(3, 9)))
    arguments = (tmp_path, INPUTS, SEQUENCES, VALIDATION, TESTING)
    classify(ClassificationReport(*arguments, figure_subjects=0), [sample(number) for number in range(17)])
    assert not (tmp_path / "gradcam.png").exists()
    with pytest.raises(FileExistsError, match=r"predictions.csv exists; give another --output_dir, or --overwrite"):
        ClassificationReport(*arguments)
    ClassificationReport(*arguments, overwrite=True)


def test_no_curve_of_a_single_case_of_a_label(tmp_path) -> None:
    (tmp_path / "roc.png").write_text("of an earlier evaluation")
    report = ClassificationReport(tmp_path, INPUTS, SEQUENCES, VALIDATION, TESTING[:3], overwrite=True)
    classify(report, [sample(number) for number in range(9)])
    assert not (tmp_path / "roc.png").exists()
    assert len(read_predictions(tmp_path / "predictions.csv")) == 9


def test_inference_adds_to_its_table(tmp_path) -> None:
    report = PredictionReport(tmp_path, INPUTS, SEQUENCES, figures=False)
    classify(report, [sample(4), sample(2)])
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert table["subject"].tolist() == ["p2", "p4"]
    np.testing.assert_allclose(table["probability"], [expected(2), expected(4)], rtol=1e-5)
    with pytest.raises(FileExistsError, match=r"has 1 of these subjects already \(p2\)"):
        PredictionReport(tmp_path, INPUTS, SEQUENCES).subjects_to_classify(entries(range(2, 4)))
    going_on = PredictionReport(tmp_path, INPUTS, SEQUENCES, existing="skip")
    left = going_on.subjects_to_classify(entries(range(2, 5)))
    assert [entry["subject"] for entry in left] == ["p3"]
    classify(going_on, [sample(3)])
    assert pd.read_csv(tmp_path / "predictions.csv")["subject"].tolist() == ["p2", "p3", "p4"]
    assert (tmp_path / "p3" / "p3_gradcam.png").stat().st_size > 0
    everybody = PredictionReport(tmp_path, INPUTS, SEQUENCES, existing="overwrite")
    assert len(everybody.subjects_to_classify(entries(range(2, 5)))) == 3


@pytest.mark.parametrize(
    ("inputs", "existing", "message"),
    [
        (INPUTS, "replace", "existing is 'replace'; give one of error, skip, overwrite"),
        (["adc"], "error", "Unknown channel 'adc'"),
    ],
)
def test_refuses_wrong_options(tmp_path, inputs, existing, message) -> None:
    with pytest.raises(ValueError, match=message):
        PredictionReport(tmp_path, inputs, SEQUENCES, existing=existing)


@pytest.mark.parametrize(
    ("logits", "error", "message"),
    [(torch.zeros(1, 3), TypeError, "gives .3,. logits"), (torch.full((1, 1), torch.nan), ValueError, "logit is nan")],
)
def test_what_is_no_answer_to_a_binary_task(logits, error, message) -> None:
    engine = SubjectClassifier(
        device=torch.device("cpu"), val_data_loader=[], network=nn.Identity(), inferer=lambda image, network: logits
    )
    engine.state = SimpleNamespace(device=torch.device("cpu"))
    with pytest.raises(error, match=message):
        engine.evaluate_subject(sample(0))
