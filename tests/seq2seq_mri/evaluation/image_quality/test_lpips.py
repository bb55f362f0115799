# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
from __future__ import annotations

import builtins
import math
import warnings

import numpy as np
import pytest
import torch

from seq2seq_mri.evaluation.image_quality.lpips import _NETWORKS, SliceLPIPS


@pytest.fixture
def squeeze_weights(shared_data, monkeypatch):
    folder = shared_data / "torch_home"
    if not list(folder.glob("hub/checkpoints/squeezenet1_1-*.pth")):
        pytest.skip(f"no SqueezeNet weights in {folder}")
    monkeypatch.setenv("TORCH_HOME", str(folder))


def volumes(shape, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.random(shape).astype(np.float32)
    prediction = np.clip(truth + 0.3 * generator.standard_normal(shape), 0, 1).astype(np.float32)
    foreground = np.zeros(shape[-3:], dtype=bool)
    foreground[5:9, 4:8, 1:-2] = True
    return prediction, truth, foreground


def slice_distances(prediction, truth, slices):
    """The distance of each slice, one at a time, as the lpips package documents it."""
    lpips = pytest.importorskip("lpips")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = lpips.LPIPS(net="squeeze", verbose=False)
    result = []
    for index in slices:
        images = [torch.from_numpy(volume[:, :, index]).repeat(1, 3, 1, 1) for volume in (prediction, truth)]
        with torch.no_grad():
            result.append(network(*images, normalize=True).item())
    return result


@pytest.mark.parametrize(("reduction", "reduce"), [("mean", np.mean), ("sum", np.sum)])
def test_equals_the_package_slice_by_slice(squeeze_weights, reduction, reduce):
    prediction, truth, foreground = volumes((33, 26, 21))
    metric = SliceLPIPS("squeeze", reduction=reduction)
    expected = reduce(slice_distances(prediction, truth, range(1, 19)))
    assert metric(torch.from_numpy(prediction), truth, foreground) == pytest.approx(expected, rel=1e-5)
    assert metric(truth, truth, foreground) == 0.0


def test_timepoints_are_averaged(squeeze_weights):
    prediction, truth, foreground = volumes((3, 20, 19, 5))
    metric = SliceLPIPS("squeeze")
    single = [metric(p, t, foreground) for p, t in zip(prediction, truth, strict=True)]
    assert metric(prediction, truth, foreground) == pytest.approx(np.mean(single), rel=1e-6)


def test_is_silent_and_leaves_no_gradient(squeeze_weights, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric = SliceLPIPS("squeeze")
        metric(*volumes((20, 20, 5)))
    assert capsys.readouterr() == ("", "")
    assert not any(parameter.requires_grad for parameter in metric.distance.parameters())


def test_none_builds_and_imports_nothing(monkeypatch):
    forbid_import(monkeypatch, ImportError("lpips is not needed"))
    metric = SliceLPIPS("none")
    assert math.isnan(metric(*volumes((4, 4, 4))))


@pytest.mark.parametrize(
    ("network", "failure"),
    [("alex", OSError("no route to host")), ("vgg", RuntimeError("invalid hash value")), ("squeeze", EOFError())],
)
def test_absent_weights_name_the_file_and_the_ways_out(monkeypatch, tmp_path, network, failure):
    def download(*args, **kwargs):
        raise failure

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", download)
    with pytest.raises(ValueError, match=rf"(?s)'{network}' cannot be had.*{tmp_path}/hub/checkpoints/.*\.pth.*none"):
        SliceLPIPS(network)


@pytest.mark.parametrize(
    "error", [RuntimeError("operator torchvision::nms does not exist"), ModuleNotFoundError("No module named 'lpips'")]
)
def test_unimportable_packages_are_explained(monkeypatch, error):
    forbid_import(monkeypatch, error)
    with pytest.raises(ValueError, match=r"(?s)built for another torch.*torchvision==0.16.2.*none"):
        SliceLPIPS("alex")


def test_refuses_what_is_unknown_or_too_small(squeeze_weights):
    with pytest.raises(ValueError, match="Unknown LPIPS network 'resnet'"):
        SliceLPIPS("resnet")
    with pytest.raises(ValueError, match="Unknown LPIPS reduction"):
        SliceLPIPS("none", reduction="median")
    with pytest.raises(ValueError, match="too small for LPIPS with network 'squeeze', which needs 17 x 17"):
        SliceLPIPS("squeeze")(*np.ones((3, 16, 20, 3)))


@pytest.mark.parametrize("network", _NETWORKS)
def test_smallest_slice_is_right(network):
    lpips = pytest.importorskip("lpips")
    smallest = _NETWORKS[network][1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        distance = lpips.LPIPS(net=network, pnet_rand=True, verbose=False)
    assert distance(torch.rand(1, 3, smallest, smallest), torch.rand(1, 3, smallest, smallest)).isfinite().all()
    with pytest.raises(RuntimeError):
        distance(*torch.rand(2, 1, 3, smallest - 1, smallest - 1))


def forbid_import(monkeypatch, error):
    """Let ``import lpips`` raise ``error``."""
    original = builtins.__import__

    def importing(name, *args, **kwargs):
        if name == "lpips":
            raise error
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)
