# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""Engines that synthesise what a subject lacks, or translate all its sequences and measure the results."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from monai.data import MetaTensor

from seq2seq_mri.evaluation.differentiation.differentiation import voxel_auc
from seq2seq_mri.evaluation.image_quality.image_quality import (
    CENTRAL_CROP,
    QUALITY_COLUMNS,
    Region,
    check_region,
    image_quality,
)
from seq2seq_mri.inference.differentiation_maps import differentiation_maps
from seq2seq_mri.inference.fusion import MeanFusion
from seq2seq_mri.inference.subject_evaluator import SubjectEvaluator
from seq2seq_mri.inference.translation_inferer import Reduction
from seq2seq_mri.io.grids import on_source_grid, source_margins
from seq2seq_mri.sequences import channel_slices, marked_sequences, sequence_index

if TYPE_CHECKING:
    from seq2seq_mri.inference.evaluation_report import EvaluationReport
    from seq2seq_mri.inference.synthesis_report import SynthesisReport

__all__ = ["SynthesisEvaluator", "TranslationEvaluator", "lesion_mask", "synthesised_sequences", "unique_mask"]


class SynthesisEvaluator(SubjectEvaluator):
    """Synthesises sequences of each subject from those it has, and fuses the sources.

    Output per subject: ``pred``, the fused images ``[sum of T of the targets, X, Y, Z]`` in the inferer's output
    range; ``deviation``, the voxelwise standard deviation between sources, of the same shape and unit; ``targets``
    and ``sources``, the names.

    Args:
        sequences: the sequence table.
        targets: ``"missing"`` (those that a subject lacks), ``"all"``, or a list of names.
        fusion: combines the sources, see :mod:`seq2seq_mri.inference.fusion`; None: their mean.
        report: a :class:`SynthesisReport`, which receives every subject; or ``None``.
        **kwargs: of :class:`SubjectEvaluator`.

    Raises:
        ValueError: when a target is not in the table.
    """

    def __init__(
        self,
        sequences: dict[str, int],
        targets: str | Sequence[str] = "missing",
        fusion: Reduction | None = None,
        report: SynthesisReport | None = None,
        **kwargs: Any,
    ) -> None:
        self.sequences = dict(sequences)
        self.targets = targets
        self.fusion = MeanFusion() if fusion is None else fusion
        self.report = report
        if targets not in ("missing", "all"):
            for name in [targets] if isinstance(targets, str) else targets:
                sequence_index(self.sequences, name)
        super().__init__(**kwargs)

    def evaluate_subject(self, sample: dict[str, Any]) -> dict[str, Any] | None:
        """Translate every source of the subject into its targets and fuse; ``None`` when it misses nothing."""
        sources = marked_sequences(self.sequences, sample["available"])
        targets = synthesised_sequences(self.sequences, sources, self.targets)
        if not targets:
            self.logger.info(f"{sample['subject']} has every sequence; nothing is missing.")
            return None
        fused, deviation = self.inferer(
            sample["image"][None], self.network, sources=sources, targets=targets, reduce=self.fusion
        )
        images = {"pred": MetaTensor(fused), "deviation": MetaTensor(deviation)}
        output = {**images, "targets": targets, "sources": sources}
        if self.report is not None:
            self.report.add(sample, output)
        return output


class TranslationEvaluator(SubjectEvaluator):
    """Translates every available sequence into every measured sequence of each subject, and measures the result.

    A withheld sequence is measured but not available: it is only a target, never a source.

    Output per subject, none where it has no pair of two different sequences:

    - ``rows``: image quality, one dictionary per pair, see :func:`image_quality`, and by the same names the means of
      its PSNR and SSIM over the pairs;
    - with ``differentiation``: ``differentiation``, M_d (``[sum of T of the targets, X, Y, Z]``) of the ``targets``
      that another sequence was translated into; ``differentiation_descriptions``, over how many sources each mean is;
      ``differentiation_mean``, the mean over timepoints of the ``series_targets``, which have several;
      ``differentiation_rows``, the voxel AUC of M_d against the masks of what only that sequence shows, of a sample
      that has ``unique_masks``.

    All measures of a pair are means over the target's timepoints. They are taken on the grid of the subject's file, so
    that they do not depend on how the images were cropped and padded for the network: in the foreground, where any
    measured sequence is above 0; in the whole of that grid; and in its central crop. What a crop cut away counts as
    background of both images. After a resampling the grid has the new voxels in the old field of view.

    Args:
        sequences: the sequence table.
        protocol: ``"all_pairs"``, every available source to every measured target; or ``"released_code"``, only to
            withheld targets, as the released code evaluates.
        differentiation: whether to compute M_d.
        include_self: whether M_d averages over the self-reconstruction too (the paper's Eq. 5 does).
        perceptual_metric: called with (prediction, truth, foreground), as :class:`SliceLPIPS` is; or ``None``.
        regions: where PSNR and SSIM are measured. A validation that chooses weights needs the foreground alone, which
            is measured on the images as they are: it does not depend on what is around them.
        central_crop: voxels of the central crop along the axes of the image.
        data_range: of the images, recorded with every number.
        report: an :class:`EvaluationReport`, which receives every subject's images and output; or ``None``.
        **kwargs: of :class:`SubjectEvaluator`.

    Raises:
        ValueError: when the protocol or a region is unknown.
    """

    def __init__(
        self,
        sequences: dict[str, int],
        protocol: Literal["all_pairs", "released_code"] = "all_pairs",
        differentiation: bool = False,
        include_self: bool = True,
        perceptual_metric: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], float] | None = None,
        regions: Sequence[Region] = tuple(QUALITY_COLUMNS),
        central_crop: Sequence[int] = CENTRAL_CROP,
        data_range: float = 1.0,
        report: EvaluationReport | None = None,
        **kwargs: Any,
    ) -> None:
        if protocol not in ("all_pairs", "released_code"):
            raise ValueError(f"Unknown protocol '{protocol}'; choose all_pairs or released_code.")
        self.sequences = dict(sequences)
        self.protocol = protocol
        self.differentiation = differentiation
        self.include_self = include_self
        self.perceptual_metric = perceptual_metric
        for region in regions:
            check_region(region)
        self.regions = list(regions)
        self.central_crop = list(central_crop)
        self.data_range = data_range
        self.report = report
        super().__init__(**kwargs)

    def evaluate_subject(self, sample: dict[str, Any]) -> dict[str, Any] | None:
        """Translate and measure all pairs of one subject."""
        sources = marked_sequences(self.sequences, sample["available"])
        measured = marked_sequences(self.sequences, sample["measured"])
        targets = measured if self.protocol == "all_pairs" else [name for name in measured if name not in sources]
        if not any(source != target for source in sources for target in targets):
            self.logger.info(f"{sample['subject']} has no pair of sequences to measure.")
            return None
        image = sample["image"]
        # No sequence is made of itself unless M_d or a figure shows it.
        include_self = self.report is not None or (self.differentiation and self.include_self)
        inferer: Any = copy.copy(self.inferer)  # it shares the prepared network
        inferer.include_self = include_self
        # On a GPU only where they are measured, and then forgotten.
        kept = self.report is not None or self.differentiation
        inferer.output_device = torch.device("cpu") if kept else self.state.device
        predictions = inferer(image[None], self.network, sources=sources, targets=targets)
        measurements = image.as_subclass(torch.Tensor).float().cpu()  # prepared subjects are plain, others MetaTensors
        truth = {name: measurements[channels] for name, channels in channel_slices(self.sequences).items()}
        rows = channel_slices({name: self.sequences[name] for name in targets})
        translated = {
            (source, target): predictions[k, channels]
            for k, source in enumerate(sources)
            for target, channels in rows.items()
            if include_self or source != target
        }
        foreground = torch.stack([truth[name].amax(dim=0) for name in measured]).amax(dim=0) > 0
        output: dict[str, Any] = {"rows": self._measure(sample, translated, truth, foreground)}
        for name in (column for region in self.regions for column in QUALITY_COLUMNS[region]):
            output[name] = math.fsum(row[name] for row in output["rows"]) / len(output["rows"])
        if self.differentiation:
            maps = differentiation_maps(predictions, truth, sources, targets, self.include_self)
            output |= self._differentiation(sample, maps, sources, foreground)
        if self.report is not None:
            self.report.add(sample, output, truth, translated)
        return output

    def _measure(
        self,
        sample: dict[str, Any],
        translated: dict[tuple[str, str], torch.Tensor],
        truth: dict[str, torch.Tensor],
        foreground: torch.Tensor,
    ) -> list[dict[str, Any]]:
        """Measure every translation into another sequence, on the device of the network."""
        everywhere = self.perceptual_metric is not None or self.regions != ["foreground"]
        margins = source_margins(sample["image"]) if everywhere else [0] * 6
        mask = on_source_grid(foreground.to(self.state.device), margins)
        rows: list[dict[str, Any]] = []
        for (source, target), prediction in translated.items():
            if source == target:
                continue
            image, measured = (
                on_source_grid(one.to(self.state.device), margins) for one in (prediction, truth[target])
            )
            quality = image_quality(
                image, measured, mask, self.data_range, regions=self.regions, central_crop=self.central_crop
            )
            lpips = math.nan
            if self.perceptual_metric is not None:
                lpips = self.perceptual_metric(image, measured, mask)
            names = {"subject": str(sample["subject"]), "source": source, "target": target}
            rows.append(names | quality | {"lpips": lpips, "data_range": self.data_range})
        return rows

    def _differentiation(
        self, sample: dict[str, Any], maps: dict[str, torch.Tensor], sources: list[str], foreground: torch.Tensor
    ) -> dict[str, Any]:
        """Describe M_d of every target, and measure it where it is known what only that sequence shows."""
        rows, descriptions = [], {}
        for name, difference in maps.items():
            used = [source for source in sources if source != name or self.include_self]
            itself = "itself" if name in used else "not itself"
            descriptions[name] = f"M_d (Eq. 5), mean over {len(used)} sources, {itself} among them"
            region = unique_mask(sample, self.sequences, name)
            if region is not None and bool(region[foreground].any()):
                auc = voxel_auc(difference, region, foreground)
                rows.append({"subject": str(sample["subject"]), "sequence": name, "auc": auc})
        output = {
            "differentiation": MetaTensor(torch.cat(list(maps.values()))),
            "differentiation_rows": rows,
            "differentiation_descriptions": descriptions,
            "targets": list(maps),
        }
        means = {name: part.mean(dim=0) for name, part in maps.items() if len(part) > 1}
        if means:
            output |= {"differentiation_mean": MetaTensor(torch.stack([*means.values()])), "series_targets": [*means]}
        return output


def synthesised_sequences(
    sequences: Mapping[str, int], sources: Collection[str], targets: str | Sequence[str]
) -> list[str]:
    """Return the sequences that are made for a subject.

    Args:
        sequences: the sequence table.
        sources: the sequences that the subject has.
        targets: as in :class:`SynthesisEvaluator`.
    """
    if targets == "missing":
        return [name for name in sequences if name not in sources]
    if targets == "all":
        return list(sequences)
    return [targets] if isinstance(targets, str) else list(targets)


def unique_mask(sample: Mapping[str, Any], sequences: Mapping[str, int], name: str) -> torch.Tensor | None:
    """Return the bool mask ``[X, Y, Z]`` of what only ``name`` shows, or ``None`` where the sample does not know."""
    if "unique_masks" not in sample:
        return None
    region = torch.as_tensor(sample["unique_masks"])[sequence_index(sequences, name)].cpu() > 0.5
    return region if bool(region.any()) else None


def lesion_mask(sample: Mapping[str, Any]) -> torch.Tensor | None:
    """Return the bool mask ``[X, Y, Z]`` of the lesion, or ``None`` where none was loaded or it is empty."""
    lesion = sample.get("lesion")
    if not isinstance(lesion, torch.Tensor):  # a path, where the preprocessing does not load it
        return None
    region = torch.as_tensor(lesion)[0].cpu() > 0.5
    return region if bool(region.any()) else None
