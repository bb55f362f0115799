# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Measuring translations and synthesising sequences, one subject at a time, whatever happens to the others."""

from __future__ import annotations

import itertools
import math
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from engine_parts import SEQUENCES, loader, make_sample, tiny_generator, translation_evaluator
from ignite.engine import Events
from monai.transforms import Compose, CropForegroundd, Invertd, Orientationd, SpatialPadd
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from seq2seq_mri.inference.evaluator import SynthesisEvaluator, lesion_mask
from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.slice_inferer import SliceTranslationInferer
from seq2seq_mri.io.load import LoadImageSequencesd
from seq2seq_mri.io.save import SaveImageSequencesd
from seq2seq_mri.sequences import channel_slices

NAMES = list(SEQUENCES)
CHANNELS = channel_slices(SEQUENCES)


class Collect:
    """A report that keeps what it is given."""

    def __init__(self) -> None:
        self.added: dict[str, tuple] = {}

    def add(self, sample, output, truth, translated) -> None:
        self.added[sample["subject"]] = (output, truth, translated)

    def draw(self, sample, output) -> None:
        self.added[sample["subject"]] = (output,)


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


def pairs_of(output: dict) -> list[tuple[str, str]]:
    return [(row["source"], row["target"]) for row in output["rows"]]


def area_under_curve(scores: np.ndarray, labels: np.ndarray) -> float:
    """Count the (inside, outside) pairs in which the voxel inside has the higher value."""
    inside, outside = scores[labels], scores[~labels]
    greater = (inside[:, None] > outside).sum() + 0.5 * (inside[:, None] == outside).sum()
    return float(greater / (len(inside) * len(outside)))


class TestTranslation:
    def test_every_pair_is_measured(self) -> None:
        sample = make_sample("p1", NAMES)
        ((output, truth, translated),) = evaluate([sample], data_range=2.0).values()
        assert pairs_of(output) == list(itertools.permutations(NAMES, 2))
        assert translated.keys() == set(itertools.product(NAMES, NAMES))
        foreground = sample["image"].as_tensor().amax(0) > 0
        for row in output["rows"]:
            prediction = translate(sample, row["source"], row["target"])
            torch.testing.assert_close(translated[row["source"], row["target"]], prediction)
            error = (prediction - image_of(sample, row["target"])).square().double()
            psnr = [20 * math.log10(2) - 10 * math.log10(one.mean()) for one in error]
            inside = [20 * math.log10(2) - 10 * math.log10(one[foreground].mean()) for one in error]
            assert row["psnr"] == pytest.approx(np.mean(psnr), abs=1e-4)
            assert row["psnr_foreground"] == pytest.approx(np.mean(inside), abs=1e-4)
            assert row["data_range"] == 2.0
            assert row["subject"] == "p1"
            assert math.isnan(row["lpips"])
        for name in NAMES:
            torch.testing.assert_close(truth[name], image_of(sample, name))

    def test_measures_of_a_series_are_means_over_its_timepoints(self) -> None:
        """Against each timepoint by itself: PSNR and SSIM of scikit-image, LPIPS's stand-in called per timepoint."""

        def brightness(prediction: torch.Tensor, truth: torch.Tensor, foreground: torch.Tensor) -> float:
            return float((prediction - truth)[..., foreground].abs().mean())

        sample = make_sample("p1", NAMES, shape=(13, 12, 14))
        ((output, truth, translated),) = evaluate([sample], perceptual_metric=brightness).values()
        (row,) = [row for row in output["rows"] if (row["source"], row["target"]) == ("t1", "dce")]
        foreground = sample["image"].as_tensor().amax(0) > 0
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        singles = []
        for made, measured in zip(translated["t1", "dce"], truth["dce"], strict=True):
            arrays = measured.numpy(), made.numpy()
            similarity = structural_similarity(*arrays, data_range=1.0, full=True, **window)[1]
            surrounded = [np.pad(array, 10) for array in arrays]
            beyond = structural_similarity(*surrounded, data_range=1.0, full=True, **window)[1][(slice(10, -10),) * 3]
            inside = foreground.numpy()
            singles.append(
                {
                    "psnr": peak_signal_noise_ratio(*arrays, data_range=1.0),
                    "psnr_foreground": peak_signal_noise_ratio(*(one[inside] for one in arrays), data_range=1.0),
                    "ssim": similarity[5:-5, 5:-5, 5:-5].mean(),
                    "ssim_foreground": beyond[inside].mean(),
                    "lpips": brightness(made, measured, foreground),
                }
            )
        assert len(singles) == 3
        for name in singles[0]:
            assert row[name] == pytest.approx(np.mean([single[name] for single in singles]), rel=1e-5)

    def test_perceptual_metric_sees_every_pair(self) -> None:
        ((output, *_),) = evaluate(
            [make_sample("p1", NAMES)], perceptual_metric=lambda prediction, truth, foreground: len(truth) / 10
        ).values()
        assert {row["target"]: row["lpips"] for row in output["rows"]} == {"t1": 0.1, "dce": 0.3, "t2": 0.1}

    def test_missing_sequences_are_left_out(self) -> None:
        ((output, *_),) = evaluate([make_sample("p1", ["t2", "dce"])]).values()
        assert pairs_of(output) == [("dce", "t2"), ("t2", "dce")]

    def test_withheld_sequences_are_only_truth(self) -> None:
        ((output, _, translated),) = evaluate([make_sample("p1", ["t1", "t2"], withheld=["dce"])]).values()
        assert pairs_of(output) == [("t1", "dce"), ("t1", "t2"), ("t2", "t1"), ("t2", "dce")]
        spoilt = make_sample("p1", ["t1", "t2"], withheld=["dce"])
        spoilt["image"][CHANNELS["dce"]] = 0.5
        ((_, _, again),) = evaluate([spoilt]).values()
        assert all(torch.equal(image, again[pair]) for pair, image in translated.items())

    def test_released_protocol_goes_from_available_to_withheld(self) -> None:
        samples = [make_sample("p1", ["t1"], withheld=["dce", "t2"]), make_sample("p2", NAMES)]
        added = evaluate(samples, protocol="released_code")
        assert list(added) == ["p1"]
        assert pairs_of(added["p1"][0]) == [("t1", "dce"), ("t1", "t2")]

    def test_unknown_protocol(self) -> None:
        with pytest.raises(ValueError, match="Unknown protocol 'some'; choose all_pairs or released_code"):
            translation_evaluator([], protocol="some")

    def test_a_subject_without_pairs_has_no_output(self, caplog) -> None:
        evaluator = translation_evaluator([make_sample("p1", ["dce"])], differentiation=True, report=Collect())
        with caplog.at_level("INFO", logger=evaluator.logger.name):
            evaluator.run()
        assert "p1 has no pair of sequences to measure" in caplog.text
        assert evaluator.state.output == {}
        assert evaluator.report.added == {}

    def test_network_is_in_evaluation_mode(self) -> None:
        network = tiny_generator(SEQUENCES).train()
        evaluate([make_sample("p1", NAMES)], network=network)
        assert not network.training


class Dimmer:
    """An inferer without a network: every translation is the source's first timepoint, at 0.8 of its brightness."""

    include_self = True

    def __call__(self, inputs, network, sources, targets):
        timepoints = sum(SEQUENCES[name] for name in targets)
        made = [inputs.as_tensor()[0, CHANNELS[name]][:1].expand(timepoints, -1, -1, -1) for name in sources]
        return 0.8 * torch.stack(made)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, False),
        ({"differentiation": True}, True),
        ({"differentiation": True, "include_self": False}, False),
        ({"differentiation": True, "include_self": False, "report": Collect()}, True),
    ],
)
def test_sequences_are_reconstructed_from_themselves_only_for_maps_and_figures(arguments, expected) -> None:
    asked = []

    class Asked(Dimmer):
        def __call__(self, *args, **kwargs):
            asked.append(self.include_self)
            return super().__call__(*args, **kwargs)

    inferer = Asked()
    translation_evaluator([make_sample("p1", NAMES)], inferer=inferer, **arguments).run()
    assert asked == [expected]
    assert inferer.include_self


class TestGrid:
    """The same images, cropped and padded as trainings with other options would have them."""

    SHAPE = (26, 22, 19)

    @pytest.fixture
    def entry(self, tmp_path) -> dict[str, str]:
        entry = {"subject": "p1"}
        image = make_sample("p1", NAMES, shape=(14, 15, 12))["image"].as_tensor().numpy()
        for name in NAMES:
            voxels = np.zeros((*self.SHAPE, SEQUENCES[name]), dtype=np.float32)
            voxels[3:17, 6:21, 1:13] = np.moveaxis(image[CHANNELS[name]], 0, -1)
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
        ((output, *_),) = evaluate(
            [Compose(steps)(entry)], inferer=Dimmer(), central_crop=(16, 14, 40), **arguments
        ).values()
        return output["rows"]

    @staticmethod
    def shape(prediction: torch.Tensor, truth: torch.Tensor, foreground: torch.Tensor) -> float:
        return float(truth.shape[1] + 100 * truth.shape[2] + 10000 * truth.shape[3] + foreground.sum() / 1e6)

    @pytest.mark.parametrize("size", [(1, 1, 1), (20, 20, -1), (26, 26, -1), (40, 33, 27)])
    def test_scores_do_not_depend_on_the_size_to_which_images_are_padded(self, entry, size) -> None:
        expected = self.rows(entry, None, perceptual_metric=self.shape)
        found = self.rows(entry, size, perceptual_metric=self.shape)
        assert len(found) == 6
        for one, other in zip(found, expected, strict=True):
            assert one == pytest.approx(other, abs=1e-9)

    @pytest.mark.parametrize("size", [(20, 20, -1), (40, 33, 27)])
    def test_nor_does_a_validation(self, entry, size) -> None:
        expected = self.rows(entry, None)
        for one, other in zip(self.rows(entry, size, regions=["foreground"]), expected, strict=True):
            assert "psnr" not in one
            for name in ("psnr_foreground", "ssim_foreground"):
                assert one[name] == pytest.approx(other[name], abs=1e-9)

    def test_the_whole_is_the_file(self, entry) -> None:
        volumes = {name: nibabel.load(entry[name]).get_fdata(dtype=np.float32) for name in ("t1", "t2")}
        (row,) = [row for row in self.rows(entry, (20, 20, -1)) if (row["source"], row["target"]) == ("t1", "t2")]
        made, truth = np.float32(0.8) * volumes["t1"], volumes["t2"]
        window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        assert row["psnr"] == pytest.approx(peak_signal_noise_ratio(truth, made, data_range=1.0), abs=1e-5)
        assert row["ssim"] == pytest.approx(structural_similarity(truth, made, data_range=1.0, **window), abs=1e-5)
        made, truth = (image[5:21, 4:18] for image in (made, truth))
        assert row["psnr_central_crop"] == pytest.approx(peak_signal_noise_ratio(truth, made, data_range=1.0), abs=1e-5)
        ssim = structural_similarity(truth, made, data_range=1.0, **window)
        assert row["ssim_central_crop"] == pytest.approx(ssim, abs=1e-5)

    def test_prepared_subjects_are_plain_tensors(self) -> None:
        sample = make_sample("p1", NAMES)
        ((expected, *_),) = evaluate([sample]).values()
        ((found, *_),) = evaluate([dict(sample, image=sample["image"].as_tensor())]).values()
        assert found["rows"] == [pytest.approx(row, nan_ok=True) for row in expected["rows"]]

    def test_unknown_region(self) -> None:
        with pytest.raises(ValueError, match="Unknown region 'brain'"):
            translation_evaluator([], regions=["brain"])


class TestDifferentiation:
    @pytest.mark.parametrize("include_self", [True, False])
    def test_equals_the_mean_over_sources_of_the_absolute_error(self, include_self) -> None:
        sample = make_sample("p1", ["t1", "t2"], withheld=["dce"])
        ((output, *_),) = evaluate([sample], differentiation=True, include_self=include_self).values()
        assert output["targets"] == NAMES
        held = channel_slices(SEQUENCES)
        for target in NAMES:
            sources = [name for name in ("t1", "t2") if include_self or name != target]
            errors = [(translate(sample, name, target) - image_of(sample, target)).abs() for name in sources]
            expected = sum(errors) / len(errors)
            torch.testing.assert_close(output["differentiation"].as_tensor()[held[target]], expected)

    def test_has_no_map_of_what_nothing_else_was_translated_into(self) -> None:
        sample = make_sample("p1", ["t1"], withheld=["dce"])
        ((output, *_),) = evaluate([sample], differentiation=True).values()
        assert output["targets"] == ["dce"]
        assert output["differentiation"].shape == (3, *sample["image"].shape[1:])

    def test_series_have_a_mean_map(self) -> None:
        ((output, *_),) = evaluate([make_sample("p1", NAMES)], differentiation=True).values()
        assert output["series_targets"] == ["dce"]
        maps = output["differentiation"].as_tensor()[CHANNELS["dce"]]
        assert maps.shape[0] == 3
        torch.testing.assert_close(output["differentiation_mean"].as_tensor(), maps.sum(0, keepdim=True) / 3)

    def test_without_series_there_is_no_mean_map(self) -> None:
        ((output, *_),) = evaluate([make_sample("p1", ["t1", "t2"])], differentiation=True).values()
        assert "differentiation_mean" not in output
        assert "series_targets" not in output

    def test_area_under_the_curve_where_the_region_is_known(self) -> None:
        sample = make_sample("p1", NAMES, unique=["t1", "dce"])
        ((output, *_),) = evaluate([sample], differentiation=True).values()
        rows = {row["sequence"]: row["auc"] for row in output["differentiation_rows"]}
        assert list(rows) == ["t1", "dce"]
        foreground = (sample["image"].as_tensor().amax(0) > 0).numpy()
        for name, value in rows.items():
            scores = output["differentiation"].as_tensor()[CHANNELS[name]].mean(0).numpy()[foreground]
            labels = sample["unique_masks"].as_tensor()[NAMES.index(name)].numpy()[foreground] > 0
            assert value == pytest.approx(area_under_curve(scores, labels), abs=1e-6)

    def test_unknown_regions_have_no_row(self) -> None:
        outside = make_sample("p2", NAMES, unique=["t1"])
        outside["unique_masks"][:, 1:-1, 1:-1] = 0
        added = evaluate([make_sample("p1", NAMES), outside], differentiation=True)
        assert [output["differentiation_rows"] for output, *_ in added.values()] == [[], []]


@pytest.mark.parametrize(("include_self", "among"), [(True, "itself"), (False, "not itself")])
def test_maps_are_saved_on_the_source_grid(tmp_path, include_self, among) -> None:
    """As evaluate.json of a bundle with 4D sequences saves M_d, and the mean of that of a 4D sequence."""
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])  # LPS
    entries = []
    for subject, names in (("p1", NAMES), ("p2", ["t1", "t2"])):
        image = make_sample(subject, names, shape=(14, 15, 12))["image"].as_tensor().numpy()
        entries.append({"subject": subject})
        for name in names:
            voxels = np.moveaxis(image[CHANNELS[name]], 0, -1)
            entries[-1][name] = str(tmp_path / f"{subject}_{name}.nii.gz")
            nibabel.save(nibabel.Nifti1Image(voxels.squeeze(), affine), entries[-1][name])
    preprocessing = Compose(
        [
            LoadImageSequencesd(SEQUENCES),
            Orientationd("image", axcodes="RAS", labels=None),
            CropForegroundd("image", source_key="image", start_coord_key=None, end_coord_key=None),
        ]
    )
    keys = ["differentiation", "differentiation_mean"]
    folder = tmp_path / "maps"
    postprocessing = Compose(
        [
            Invertd(keys, preprocessing, orig_keys="image", nearest_interp=False, allow_missing_keys=True),
            SaveImageSequencesd(
                "differentiation",
                SEQUENCES,
                folder,
                suffixes="_md",
                subject_folder=False,
                descriptions_key="differentiation_descriptions",
            ),
            SaveImageSequencesd(
                "differentiation_mean",
                dict.fromkeys(SEQUENCES, 1),
                folder,
                names_key="series_targets",
                suffixes="_md_mean",
                subject_folder=False,
                allow_missing_keys=True,
            ),
        ]
    )
    samples = [preprocessing(entry) for entry in entries]
    evaluate(samples, differentiation=True, include_self=include_self, postprocessing=postprocessing)
    expected = {"p1_t1_md", "p1_dce_md", "p1_t2_md", "p1_dce_md_mean", "p2_t1_md", "p2_t2_md"}
    assert {path.name.removesuffix(".nii.gz") for path in folder.iterdir()} == expected
    series, mean = (nibabel.load(folder / f"p1_dce_{ending}.nii.gz") for ending in ("md", "md_mean"))
    assert (series.shape, mean.shape) == ((14, 15, 12, 3), (14, 15, 12))
    np.testing.assert_allclose(mean.affine, affine)
    np.testing.assert_allclose(mean.get_fdata(), series.get_fdata().mean(axis=-1), atol=1e-6)
    assert mean.get_fdata().max() > 0.1
    for subject, available in (("p1", 3), ("p2", 2)):
        text = nibabel.load(folder / f"{subject}_t1_md.nii.gz").header["descrip"].item().decode()
        assert text == f"M_d (Eq. 5), mean over {available - (not include_self)} sources, {among} among them"


class TestLesionMask:
    def test_is_that_of_the_sample(self) -> None:
        sample = make_sample("p1", NAMES, lesion=(slice(3, 5), slice(4, 5), slice(2, 6)))
        mask = lesion_mask(sample)
        assert mask.dtype == torch.bool
        assert mask.nonzero().tolist() == list(map(list, itertools.product((3, 4), (4,), range(2, 6))))

    def test_there_may_be_none(self) -> None:
        sample = make_sample("p1", NAMES)
        assert lesion_mask(sample) is None
        assert lesion_mask(sample | {"lesion": "lesion.nii.gz"}) is None
        assert lesion_mask(sample | {"lesion": torch.zeros(1, 12, 13, 11)}) is None


class TestFailures:
    """p1 and p5 are good; p2 could not be loaded, p3 has NaN, p4 cannot be saved."""

    @staticmethod
    def samples() -> list[dict]:
        samples: list[dict] = [make_sample(f"p{k}", NAMES) for k in (1, 3, 4, 5)]
        samples[1]["image"][0, 3, 3, 3] = torch.nan
        samples.insert(1, {"subject": "p2", "error": "Subject 'p2': scan.nii.gz does not exist."})
        return samples

    @staticmethod
    def save(data: dict) -> dict:
        if data["subject"] == "p4":
            raise OSError(28, "cannot write p4.nii.gz: No space left on device")
        return {**data, "saved": True}

    def test_others_are_done_and_failures_are_listed(self, caplog) -> None:
        report = Collect()
        evaluator = translation_evaluator(self.samples(), report=report, postprocessing=self.save)
        saved = []
        evaluator.add_event_handler(
            Events.ITERATION_COMPLETED, lambda engine: saved.append(engine.state.output.get("saved", False))
        )
        with pytest.raises(ValueError, match=r"3 subject\(s\) failed, the others are done:") as caught:
            evaluator.run()
        lines = str(caught.value).splitlines()
        assert lines[1] == "  p2: Subject 'p2': scan.nii.gz does not exist."
        assert lines[2].startswith("  p3: The ")
        assert "NaN" in lines[2]
        assert lines[3].startswith("  p4: ")
        assert "No space left on device" in lines[3]
        assert len(lines) == 4
        assert saved == [True, False, False, False, True]
        assert {"p1", "p5"} <= report.added.keys() <= {"p1", "p4", "p5"}
        assert "p3 failed: The" in caplog.text

    def test_failures_are_those_of_the_last_run(self) -> None:
        evaluator = translation_evaluator(self.samples(), postprocessing=self.save)
        for _ in range(2):
            with pytest.raises(ValueError, match="3 subject"):
                evaluator.run()

    def test_programming_errors_are_not_swallowed(self) -> None:
        def broken(data: dict) -> dict:
            raise TypeError("a bug")

        evaluator = translation_evaluator([make_sample("p1", NAMES)], postprocessing=broken)
        with pytest.raises(RuntimeError) as caught:
            evaluator.run()
        assert isinstance(caught.value.__cause__, TypeError)

    @pytest.mark.parametrize("error", [TypeError("a bug"), RuntimeError("out of memory"), KeyError("a bug")])
    def test_errors_of_the_network_are_not_swallowed(self, error) -> None:
        def broken(*arguments: Any, **options: Any) -> None:
            raise error

        evaluator = translation_evaluator([make_sample("p1", NAMES)], inferer=broken)
        with pytest.raises(type(error), match=r"a bug|out of memory"):
            evaluator.run()


def test_a_process_without_subjects_takes_part() -> None:
    evaluator = translation_evaluator([])
    fired = []
    for event in (Events.EPOCH_STARTED, Events.EPOCH_COMPLETED, Events.COMPLETED):
        evaluator.add_event_handler(event, lambda engine, event=event: fired.append((event, engine.state.epoch)))
    evaluator.run(global_epoch=4)
    assert fired == [(Events.EPOCH_STARTED, 4), (Events.EPOCH_COMPLETED, 4), (Events.COMPLETED, 4)]


class TestSynthesis:
    @staticmethod
    def evaluator(samples: list[dict], **arguments: Any) -> SynthesisEvaluator:
        return SynthesisEvaluator(
            SEQUENCES,
            fusion=MeanFusion(),
            report=Collect(),
            device="cpu",
            val_data_loader=loader(samples),
            network=tiny_generator(SEQUENCES),
            inferer=SliceTranslationInferer(),
            **arguments,
        )

    @pytest.mark.parametrize(
        ("targets", "expected"),
        [("missing", ["dce"]), ("all", NAMES), ("t2", ["t2"]), (["t2", "dce"], ["t2", "dce"])],
    )
    def test_fuses_the_sources(self, targets, expected) -> None:
        sample = make_sample("p1", ["t1", "t2"])
        evaluator = self.evaluator([sample], targets=targets)
        evaluator.run()
        (output,) = evaluator.report.added["p1"]
        assert (output["targets"], output["sources"]) == (expected, ["t1", "t2"])
        for name, part in channel_slices({name: SEQUENCES[name] for name in expected}).items():
            sources = [source for source in ("t1", "t2") if source != name]
            images = torch.stack([translate(sample, source, name) for source in sources])
            torch.testing.assert_close(output["pred"].as_tensor()[part], images.mean(0))
            expected_deviation = images.std(0, correction=0)
            torch.testing.assert_close(output["deviation"].as_tensor()[part], expected_deviation, rtol=1e-4, atol=1e-6)

    def test_withheld_sequences_are_missing(self) -> None:
        evaluator = self.evaluator([make_sample("p1", ["t1"], withheld=["t2"])])
        evaluator.run()
        (output,) = evaluator.report.added["p1"]
        assert (output["targets"], output["sources"]) == (["dce", "t2"], ["t1"])

    def test_nothing_is_missing(self, caplog) -> None:
        evaluator = self.evaluator([make_sample("p1", NAMES)])
        with caplog.at_level("INFO", logger=evaluator.logger.name):
            evaluator.run()
        assert "p1 has every sequence; nothing is missing" in caplog.text
        assert evaluator.report.added == {}

    @pytest.mark.parametrize("targets", ["swi", ["t1", "swi"]])
    def test_unknown_target(self, targets) -> None:
        with pytest.raises(ValueError, match="swi"):
            self.evaluator([], targets=targets)
