# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Translations are measured, and missing sequences synthesised."""

from __future__ import annotations

import itertools
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from engine_parts import SEQUENCES, make_sample, synthesis_evaluator, tiny_generator, translation_evaluator
from monai.transforms import Compose, CropForegroundd, Orientationd, SpatialPadd
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from seq2seq_mri.evaluation.differentiation.differentiation import voxel_auc
from seq2seq_mri.evaluation.image_quality.image_quality import QUALITY_COLUMNS, image_quality
from seq2seq_mri.inference.evaluator import lesion_mask
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.sequences import channel_slices

NAMES = list(SEQUENCES)
CHANNELS = channel_slices(SEQUENCES)


class Collect:
    """A report that keeps what it is given."""

    def __init__(self) -> None:
        self.added: dict[str, tuple] = {}

    def add(self, sample, *what) -> None:
        self.added[sample["subject"]] = what


def evaluate(samples: list[dict], **arguments: Any) -> dict[str, tuple]:
    report = Collect()
    translation_evaluator(samples, report=report, **arguments).run()
    return report.added


def translate(sample: dict, source: str, target: str) -> torch.Tensor:
    """Return one pair's translation, by itself."""
    network = tiny_generator(SEQUENCES).eval()
    return SliceTranslationInferer()(sample["image"][None], network, sources=[source], targets=[target])[0]


def image_of(sample: dict, name: str) -> torch.Tensor:
    return sample["image"].as_tensor()[CHANNELS[name]]


def test_every_pair_is_measured() -> None:
    """Measures and means over timepoints are those of ``image_quality``, which has tests of its own."""

    def brightness(prediction: torch.Tensor, truth: torch.Tensor, foreground: torch.Tensor) -> float:
        return float((prediction - truth)[..., foreground].abs().mean())

    sample, network = make_sample("p1", NAMES), tiny_generator(SEQUENCES).train()
    added = evaluate([sample], network=network, data_range=2.0, perceptual_metric=brightness)
    ((output, truth, translated),) = added.values()
    assert not network.training
    assert [(row["source"], row["target"]) for row in output["rows"]] == list(itertools.permutations(NAMES, 2))
    assert translated.keys() == set(itertools.product(NAMES, NAMES))
    foreground = sample["image"].as_tensor().amax(0) > 0
    for row in output["rows"]:
        source, target = row["source"], row["target"]
        pair = translate(sample, source, target), image_of(sample, target)
        torch.testing.assert_close(translated[source, target], pair[0])
        torch.testing.assert_close(truth[target], pair[1])
        quality = image_quality(*pair, foreground, data_range=2.0, regions=list(QUALITY_COLUMNS))
        facts = {"subject": "p1", "source": source, "target": target, "data_range": 2.0}
        assert row == pytest.approx(facts | quality | {"lpips": brightness(*pair, foreground)}, abs=1e-4)


@pytest.mark.parametrize(
    ("available", "withheld", "protocol", "expected"),
    [
        (["t2", "dce"], [], "all_pairs", [("dce", "t2"), ("t2", "dce")]),
        (["t1", "t2"], ["dce"], "all_pairs", [("t1", "dce"), ("t1", "t2"), ("t2", "t1"), ("t2", "dce")]),
        (["t1"], ["dce", "t2"], "released_code", [("t1", "dce"), ("t1", "t2")]),
        (NAMES, [], "released_code", []),
        (["dce"], [], "all_pairs", []),
    ],
)
def test_pairs_go_from_what_is_available_to_what_was_measured(available, withheld, protocol, expected, caplog) -> None:
    with caplog.at_level("INFO"):
        added = evaluate([make_sample("p1", available, withheld=withheld)], protocol=protocol, differentiation=True)
    found = [(row["source"], row["target"]) for output, *_ in added.values() for row in output["rows"]]
    assert found == expected
    assert ("p1 has no pair of sequences to measure" in caplog.text) == (not expected) == (not added)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"protocol": "some"}, "Unknown protocol 'some'; choose all_pairs or released_code"),
        ({"regions": ["brain"]}, "Unknown region 'brain'"),
    ],
)
def test_unknown_settings(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        translation_evaluator([], **arguments)


class Dimmer:
    """An inferer without a network: every translation is the source's first timepoint, at 0.8 of its brightness."""

    include_self = True

    def __call__(self, inputs, network, sources, targets):
        timepoints = sum(SEQUENCES[name] for name in targets)
        made = [inputs.as_tensor()[0, CHANNELS[name]][:1].expand(timepoints, -1, -1, -1) for name in sources]
        return 0.8 * torch.stack(made)


class TestGrid:
    """The same images, cropped and padded as trainings with other options would have them."""

    @pytest.fixture
    def entry(self, tmp_path) -> dict[str, str]:
        """Files of 26 × 22 × 19 voxels in LPS orientation."""
        entry = {"subject": "p1"}
        sample = make_sample("p1", NAMES, shape=(14, 15, 12))
        for name in NAMES:
            voxels = np.pad(image_of(sample, name).movedim(0, -1), [(3, 9), (6, 1), (1, 6), (0, 0)])
            entry[name] = str(tmp_path / f"{name}.nii.gz")
            nibabel.save(nibabel.Nifti1Image(voxels.squeeze(), np.diag([-1.0, -1.0, 2.0, 1.0])), entry[name])
        return entry

    @staticmethod
    def rows(entry: dict[str, str], size: tuple[int, ...] | None, **arguments: Any) -> list[dict]:
        steps = [LoadImageSequencesd(SEQUENCES), Orientationd("image", axcodes="RAS", labels=None)]
        if size is not None:
            steps += [
                CropForegroundd("image", "image", allow_smaller=True, start_coord_key=None, end_coord_key=None),
                SpatialPadd("image", size),
            ]
        added = evaluate([Compose(steps)(entry)], inferer=Dimmer(), central_crop=(16, 14, 40), **arguments)
        return added["p1"][0]["rows"]

    @staticmethod
    def shape(prediction: torch.Tensor, truth: torch.Tensor, foreground: torch.Tensor) -> float:
        return float(truth.shape[1] + 100 * truth.shape[2] + 10000 * truth.shape[3] + foreground.sum() / 1e6)

    @pytest.mark.parametrize("size", [(1, 1, 1), (20, 20, -1), (40, 33, 27)])
    def test_scores_do_not_depend_on_the_size_to_which_images_are_padded(self, entry, size) -> None:
        expected = self.rows(entry, None, perceptual_metric=self.shape)
        assert len(expected) == 6
        for one, other in zip(self.rows(entry, size, perceptual_metric=self.shape), expected, strict=True):
            assert one == pytest.approx(other, abs=1e-9)
        # Nor do those of a validation.
        for one, other in zip(self.rows(entry, size, regions=["foreground"]), expected, strict=True):
            assert "psnr" not in one
            for name in ("psnr_foreground", "ssim_foreground"):
                assert one[name] == pytest.approx(other[name], abs=1e-9)

    def test_the_whole_is_the_file(self, entry) -> None:
        volumes = {name: nibabel.load(entry[name]).get_fdata(dtype=np.float32) for name in ("t1", "t2")}
        (row,) = [row for row in self.rows(entry, (20, 20, -1)) if (row["source"], row["target"]) == ("t1", "t2")]
        pair = np.float32(0.8) * volumes["t1"], volumes["t2"]
        cropped = [image[5:21, 4:18] for image in pair]
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        for images, ending in ((pair, ""), (cropped, "_central_crop")):
            assert row[f"psnr{ending}"] == pytest.approx(peak_signal_noise_ratio(*images, data_range=1.0), abs=1e-5)
            ssim = structural_similarity(*images, data_range=1.0, **window)
            assert row[f"ssim{ending}"] == pytest.approx(ssim, abs=1e-5)


class TestDifferentiation:
    @pytest.mark.parametrize("include_self", [True, False])
    def test_equals_the_mean_over_sources_of_the_absolute_error(self, include_self) -> None:
        sample = make_sample("p1", ["t1", "t2"], withheld=["dce"])
        ((output, *_),) = evaluate([sample], differentiation=True, include_self=include_self).values()
        assert output["targets"] == NAMES
        maps = output["differentiation"].as_tensor()
        for target in NAMES:
            sources = [name for name in ("t1", "t2") if include_self or name != target]
            errors = [(translate(sample, name, target) - image_of(sample, target)).abs() for name in sources]
            torch.testing.assert_close(maps[CHANNELS[target]], sum(errors) / len(errors))
        assert output["series_targets"] == ["dce"]
        mean = maps[CHANNELS["dce"]].sum(0, keepdim=True) / 3
        torch.testing.assert_close(output["differentiation_mean"].as_tensor(), mean)
        of_t1 = (
            "mean over 2 sources, itself among them" if include_self else "mean over 1 sources, not itself among them"
        )
        others = {"t1": of_t1, "dce": "mean over 2 sources, not itself among them", "t2": of_t1}
        expected = {name: f"M_d (Eq. 5), {text}" for name, text in others.items()}
        assert output["differentiation_descriptions"] == expected

    def test_has_no_map_of_what_nothing_else_was_translated_into(self) -> None:
        sample = make_sample("p1", ["t1"], withheld=["t2"])
        ((output, *_),) = evaluate([sample], differentiation=True).values()
        assert output["targets"] == ["t2"]
        assert output["differentiation"].shape == (1, *sample["image"].shape[1:])
        assert not {"differentiation_mean", "series_targets"} & output.keys()  # t2 is no series

    def test_is_measured_where_it_is_known_what_only_a_sequence_shows(self) -> None:
        known = make_sample("p1", NAMES, unique=["t1", "dce"])
        outside = make_sample("p2", NAMES, unique=["t1"])
        outside["unique_masks"][:, 1:-1, 1:-1] = 0
        added = evaluate([known, outside, make_sample("p3", NAMES)], differentiation=True)
        foreground = known["image"].as_tensor().amax(0) > 0
        maps, masks = added["p1"][0]["differentiation"].as_tensor(), known["unique_masks"].as_tensor() > 0
        expected = [
            {"subject": "p1", "sequence": name, "auc": voxel_auc(maps[CHANNELS[name]], masks[index], foreground)}
            for index, name in enumerate(["t1", "dce"])
        ]
        assert [added[name][0]["differentiation_rows"] for name in ("p1", "p2", "p3")] == [expected, [], []]


def test_lesion_mask() -> None:
    mask = lesion_mask(make_sample("p1", NAMES, lesion=(slice(3, 5), slice(4, 5), slice(2, 4))))
    assert mask.nonzero().tolist() == [[3, 4, 2], [3, 4, 3], [4, 4, 2], [4, 4, 3]]
    # Not given, not loaded, or empty.
    for absent in ({}, {"lesion": "lesion.nii.gz"}, {"lesion": torch.zeros(1, 12, 13, 11)}):
        assert lesion_mask(make_sample("p1", NAMES) | absent) is None


class TestSynthesis:
    @pytest.mark.parametrize(
        ("available", "withheld", "targets", "expected"),
        [
            (["t1", "t2"], [], "missing", ["dce"]),
            (["t1"], ["t2"], "missing", ["dce", "t2"]),
            (["t1", "t2"], [], "all", NAMES),
            (["t1", "t2"], [], "t2", ["t2"]),
            (["t1", "t2"], [], ["t2", "dce"], ["t2", "dce"]),
        ],
    )
    def test_fuses_the_sources(self, available, withheld, targets, expected) -> None:
        sample = make_sample("p1", available, withheld=withheld)
        report = Collect()
        synthesis_evaluator([sample], targets=targets, report=report).run()
        (output,) = report.added["p1"]
        assert (output["targets"], output["sources"]) == (expected, available)
        for name, part in channel_slices({name: SEQUENCES[name] for name in expected}).items():
            images = torch.stack([translate(sample, source, name) for source in available if source != name])
            torch.testing.assert_close(output["pred"].as_tensor()[part], images.mean(0))
            deviation = output["deviation"].as_tensor()[part]
            torch.testing.assert_close(deviation, images.std(0, correction=0), rtol=1e-4, atol=1e-6)

    def test_nothing_is_missing(self, caplog) -> None:
        evaluator = synthesis_evaluator([make_sample("p1", NAMES)], report=Collect())
        with caplog.at_level("INFO"):
            evaluator.run()
        assert "p1 has every sequence; nothing is missing" in caplog.text
        assert evaluator.report.added == {}
