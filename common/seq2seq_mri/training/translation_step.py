# Copyright (c) The seq2seq_mri authors. Licensed under the Apache License, Version 2.0.
"""The generator's losses for one batch: every source is encoded once, every needed translation decoded once."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from seq2seq_mri.losses.generator_loss import Seq2SeqLoss
from seq2seq_mri.networks.discriminator import SequenceDiscriminators
from seq2seq_mri.networks.generator import Seq2SeqGenerator
from seq2seq_mri.sequences import channel_slices
from seq2seq_mri.training.pairs import CyclePolicy, PairPolicy, choose_cycles, choose_pairs

__all__ = ["Encodings", "StepOutput", "TranslationStep", "Translations"]

Terms = dict[str, torch.Tensor]


@dataclass
class Encodings:
    """Sources of a batch with their features.

    Attributes:
        subject: long tensor ``[n]`` on the CPU, position in the batch.
        source: long tensor ``[n]`` on the CPU, position in the sequence table.
        features: ``[n, F, *reduced]``.
    """

    subject: torch.Tensor
    source: torch.Tensor
    features: torch.Tensor


@dataclass
class Translations:
    """Decoded images of targets that have the same number of timepoints, ordered by target.

    Attributes:
        subject: long tensor ``[n]`` on the CPU, position in the batch.
        source: long tensor ``[n]`` on the CPU, what each was decoded from, position in the sequence table.
        target: long tensor ``[n]`` on the CPU, position in the sequence table.
        prediction: ``[n, T, C, *spatial]``.
    """

    subject: torch.Tensor
    source: torch.Tensor
    target: torch.Tensor
    prediction: torch.Tensor


@dataclass
class StepOutput:
    """What a step computed.

    Attributes:
        loss: the weighted sum of all terms, a scalar with a graph.
        terms: each term before weighting, detached scalars on the device.
        translations: the decoded images, one group for each number of timepoints.
        cycles: weights ``[B, S, S]`` of the translations into another sequence over which Eq. 2 and 3 are taken.
    """

    loss: torch.Tensor
    terms: dict[str, torch.Tensor]
    translations: list[Translations]
    cycles: torch.Tensor


class TranslationStep:
    """Computes Eq. 1 (reconstruction), Eq. 2 (the generator's adversarial part) and Eq. 3 (cycle) for a batch.

    Each term estimates the sum of its equation without bias, see :mod:`seq2seq_mri.training.pairs`, divided for all
    terms by the one factor B · S², which makes Eq. 1 the mean over pairs and samples where nothing is missing. Two half
    batches therefore average to the whole one; and a sample with few sequences weighs as its few pairs do: one with a
    single sequence, which teaches Eq. 1 nothing but copying, 1/S² of a complete one.

    A sequence that is constant within its patch, as where there is no tissue, is taken as missing there: neither as a
    source nor as a target does it teach anything, and its normalised features would be noise.

    Nothing here waits for the device: what is chosen is known on the CPU.

    Args:
        generator: the network that is trained.
        loss: the terms and their weights; terms of weight zero are not computed.
        pairs: which available pairs are reconstructed, see :func:`choose_pairs`.
        cycles: which sequences cycles pass through, see :func:`choose_cycles`.
        discriminators: one D_j per sequence; needed when the adversarial weight is not zero.

    Raises:
        ValueError: when the adversarial term has weight but there are no discriminators.
    """

    def __init__(
        self,
        generator: Seq2SeqGenerator,
        loss: Seq2SeqLoss,
        *,
        pairs: PairPolicy = "random",
        cycles: CyclePolicy = "random",
        discriminators: SequenceDiscriminators | None = None,
    ) -> None:
        if loss.lambda_adversarial > 0 and discriminators is None:
            raise ValueError("lambda_adversarial is above 0 but there are no discriminators; add them or set it to 0.")
        self.generator = generator
        self.loss = loss
        self.pairs = pairs
        self.cycles = cycles
        self.discriminators = discriminators
        self._names = list(generator.sequences)
        self._timepoints = torch.tensor(list(generator.sequences.values()))
        self._first = self._timepoints.cumsum(0) - self._timepoints

    def signal(self, image: torch.Tensor, available: torch.Tensor) -> torch.Tensor:
        """Return which available sequences are not constant within their patch, bool ``[B, S]`` on the CPU.

        Asked of an image on the CPU, before it is moved, this does not wait for the device.
        """
        values = image.flatten(2)
        highest, lowest = values.amax(2), values.amin(2)
        # What is not finite is no constant: its loss has to tell.
        varies = ((highest != lowest) | ~highest.isfinite()).cpu()
        slices = channel_slices(self.generator.sequences).values()
        return available.cpu() & torch.stack([varies[:, part].any(1) for part in slices], dim=1)

    def __call__(self, image: torch.Tensor, available: torch.Tensor) -> StepOutput:
        """Compute the losses of one batch.

        Args:
            image: ``[B, ΣT, *patch]``, all timepoints of all sequences, intensities in [0, 1].
            available: bool ``[B, S]`` from :meth:`signal`.

        Returns:
            The losses; a loss of 0 without translations when no sample of the batch has a sequence.
        """
        wanted = choose_pairs(available, self.pairs)
        cycles = torch.zeros_like(wanted)
        if self.loss.lambda_cycle > 0 or self.loss.lambda_adversarial > 0:
            cycles = choose_cycles(wanted, self.cycles)
        if not bool(wanted.any()):
            return StepOutput(torch.zeros((), device=image.device), {}, [], cycles)
        factor = len(image) * len(self._names) ** 2
        encodings = self.encode(image, wanted.diagonal(dim1=1, dim2=2) > 0)
        pairs = ((wanted > 0) | (cycles > 0))[encodings.subject, encodings.source]
        encoding, target = torch.nonzero(pairs, as_tuple=True)
        decoded = self.decode(encodings, encoding, target, image)

        sums: Terms = {}
        for group in decoded:
            self._add_translation_terms(sums, group, wanted / factor, image)
            if self.loss.lambda_cycle > 0:
                self._add_cycle_term(sums, group, cycles / factor, image)
            if self.loss.lambda_adversarial > 0:
                self._add_adversarial_term(sums, group, cycles / factor)
        total = self.loss.total(sums)
        terms = {name: term.detach() for name, term in sums.items()}
        return StepOutput(total, terms, decoded, cycles)

    def view(self, image: torch.Tensor, subject: torch.Tensor, sequence: torch.Tensor) -> torch.Tensor:
        """Return ``[n, T, C, *spatial]``: sequence ``sequence[k]`` of subject ``subject[k]`` as the network sees it.

        All asked-for sequences must have the same number of timepoints.
        """
        channels = self._first[sequence][:, None] + torch.arange(int(self._timepoints[sequence[0]]))
        frames = image[_on(subject, image)[:, None], _on(channels, image)]
        return frames.permute(0, 1, 4, 2, 3) if self.generator.spatial_dims == 2 else frames.unsqueeze(2)

    def translated(self, output: StepOutput, target: int) -> torch.Tensor:
        """Return the translations ``[n, T, C, *spatial]`` of others into ``target`` over which Eq. 2 is taken."""
        parts = [_chosen(group, output.cycles, target)[0].prediction for group in output.translations]
        return next((part for part in parts if len(part) > 0), torch.zeros(0))  # a target is in one group

    def encode(self, image: torch.Tensor, sources: torch.Tensor) -> Encodings:
        """Encode every source marked in ``sources`` (bool ``[B, S]``), those of equal timepoints in one batch."""
        subject, source = torch.nonzero(sources, as_tuple=True)
        timepoints = self._timepoints[source]
        order = torch.argsort(timepoints, stable=True)
        subject, source, timepoints = subject[order], source[order], timepoints[order]
        parts = [
            self.generator.encode(self.view(image, subject[timepoints == t], source[timepoints == t]))
            for t in timepoints.unique()
        ]
        return Encodings(subject, source, parts[0] if len(parts) == 1 else torch.cat(parts))

    def decode(
        self, encodings: Encodings, encoding: torch.Tensor, target: torch.Tensor, image: torch.Tensor
    ) -> list[Translations]:
        """Decode ``target[k]`` from encoding ``encoding[k]``, targets of equal timepoints in one batch."""
        features = encodings.features
        spatial_size = list(image.shape[2 : 2 + self.generator.spatial_dims])
        order = torch.argsort(target, stable=True)  # the kernels of a target serve a run of samples
        encoding, target = encoding[order], target[order]
        groups = []
        for t in self._timepoints[target].unique().tolist():
            chosen = self._timepoints[target] == t
            # The ConvLSTM does not see the target: once for each encoding, not for each translation.
            used, position = encoding[chosen].unique(return_inverse=True)
            needed = features if len(used) == len(features) else features[_on(used, features)]
            unrolled = self.generator.unroll(needed, t)
            targets, runs = target[chosen].unique_consecutive(return_counts=True)
            codes = torch.nn.functional.one_hot(targets, len(self._names)).float()
            prediction = self.generator.decode(
                unrolled[_on(position, features)], _on(codes, image), spatial_size, runs.tolist()
            )
            start = encoding[chosen]
            groups.append(Translations(encodings.subject[start], encodings.source[start], target[chosen], prediction))
        return groups

    def _add_translation_terms(
        self, sums: Terms, group: Translations, wanted: torch.Tensor, image: torch.Tensor
    ) -> None:
        chosen, weight = _chosen(group, wanted)
        if len(weight) == 0:
            return
        truth = self.view(image, chosen.subject, chosen.target)
        for name, values in self.loss.translation(chosen.prediction, truth).items():
            _add(sums, name, values, weight)

    def _add_cycle_term(self, sums: Terms, group: Translations, cycles: torch.Tensor, image: torch.Tensor) -> None:
        chosen, weight = _chosen(group, cycles)
        if len(weight) == 0:
            return
        between = Encodings(chosen.subject, chosen.target, self.generator.encode(chosen.prediction))
        for back in self.decode(between, torch.arange(len(weight)), chosen.source, image):
            truth = self.view(image, back.subject, back.target)
            values = self.loss.reconstruction(back.prediction, truth)
            _add(sums, "cycle", values, cycles[back.subject, back.target, back.source])

    def _add_adversarial_term(self, sums: Terms, group: Translations, cycles: torch.Tensor) -> None:
        if self.discriminators is None:
            return
        for index in group.target.unique().tolist():
            chosen, weight = _chosen(group, cycles, index)
            if len(weight) > 0:
                logits = self.discriminators(chosen.prediction, self._names[index])
                _add(sums, "adversarial", self.loss.adversarial(logits), weight)


def _chosen(group: Translations, weights: torch.Tensor, target: int | None = None) -> tuple[Translations, torch.Tensor]:
    """Return those of a group, or of one target in it, whose pair has a weight; and these weights."""
    weight = weights[group.subject, group.source, group.target]
    rows = torch.nonzero(weight if target is None else weight * (group.target == target))[:, 0]
    prediction = group.prediction  # all of them without a copy
    if len(rows) < len(weight):
        prediction = prediction[_on(rows, prediction)]
    return Translations(group.subject[rows], group.source[rows], group.target[rows], prediction), weight[rows]


def _add(sums: Terms, name: str, values: torch.Tensor, weight: torch.Tensor) -> None:
    term = (values * _on(weight, values)).sum()
    sums[name] = sums[name] + term if name in sums else term


def _on(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Move a small tensor from the CPU to the device of another, without waiting for what is computed there."""
    return values.to(like.device, non_blocking=True)
