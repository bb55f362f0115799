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
        encoding: long tensor ``[n]`` on the CPU, which encoding each was decoded from.
        target: long tensor ``[n]`` on the CPU, position in the sequence table.
        prediction: ``[n, T, C, *spatial]``.
    """

    encoding: torch.Tensor
    target: torch.Tensor
    prediction: torch.Tensor


@dataclass
class StepOutput:
    """What a step computed.

    Attributes:
        loss: the weighted sum of all terms, a scalar with a graph.
        terms: each term before weighting, detached scalars on the device.
        encodings: the encoded sources.
        translations: the decoded images, one group for each number of timepoints.
        cycles: weights ``[B, S, S]`` of the translations into another sequence over which Eq. 2 and 3 are taken.
    """

    loss: torch.Tensor
    terms: dict[str, torch.Tensor]
    encodings: Encodings
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
            nothing = torch.zeros((), device=image.device)
            empty = torch.zeros(0, dtype=torch.long)
            return StepOutput(nothing, {}, Encodings(empty, empty, nothing.expand(0)), [], cycles)
        factor = len(image) * len(self._names) ** 2
        encodings = self.encode(image, wanted.diagonal(dim1=1, dim2=2) > 0)
        decoded = self.decode(encodings, (wanted > 0) | (cycles > 0), image)

        sums: Terms = {}
        for group in decoded:
            self._add_translation_terms(sums, group, encodings, wanted / factor, image)
            if self.loss.lambda_cycle > 0:
                self._add_cycle_term(sums, group, encodings, cycles / factor, image)
            if self.loss.lambda_adversarial > 0:
                self._add_adversarial_term(sums, group, encodings, cycles / factor)
        total = self.loss.total(sums)
        terms = {name: term.detach() for name, term in sums.items()}
        return StepOutput(total, terms, encodings, decoded, cycles)

    def view(self, image: torch.Tensor, subject: torch.Tensor, sequence: torch.Tensor) -> torch.Tensor:
        """Return ``[n, T, C, *spatial]``: sequence ``sequence[k]`` of subject ``subject[k]`` as the network sees it.

        All asked-for sequences must have the same number of timepoints.
        """
        channels = self._first[sequence][:, None] + torch.arange(int(self._timepoints[sequence[0]]))
        frames = image[_on(subject, image)[:, None], _on(channels, image)]
        return frames.permute(0, 1, 4, 2, 3) if self.generator.spatial_dims == 2 else frames.unsqueeze(2)

    def translated(self, output: StepOutput, target: int) -> torch.Tensor:
        """Return the translations ``[n, T, C, *spatial]`` of others into ``target`` over which Eq. 2 is taken."""
        parts = []
        for group in output.translations:
            rows, _ = _chosen(group, output.encodings, output.cycles)
            parts.append(_rows(group.prediction, rows[group.target[rows] == target]))
        parts = [part for part in parts if len(part) > 0]  # a target is in one group
        return parts[0] if parts else torch.zeros(0)

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

    def decode(self, encodings: Encodings, pairs: torch.Tensor, image: torch.Tensor) -> list[Translations]:
        """Decode every marked pair (bool ``[B, S, S]``), targets of equal timepoints in one batch."""
        encoding, target = torch.nonzero(pairs[encodings.subject, encodings.source], as_tuple=True)
        return self._decode(encodings.features, encoding, target, image)

    def _decode(
        self, features: torch.Tensor, encoding: torch.Tensor, target: torch.Tensor, image: torch.Tensor
    ) -> list[Translations]:
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
            groups.append(Translations(encoding[chosen], target[chosen], prediction))
        return groups

    def _add_translation_terms(
        self, sums: Terms, group: Translations, encodings: Encodings, wanted: torch.Tensor, image: torch.Tensor
    ) -> None:
        chosen, weight = _chosen(group, encodings, wanted)
        if len(chosen) == 0:
            return
        truth = self.view(image, encodings.subject[group.encoding[chosen]], group.target[chosen])
        for name, values in self.loss.translation(_rows(group.prediction, chosen), truth).items():
            _add(sums, name, values, weight)

    def _add_cycle_term(
        self, sums: Terms, group: Translations, encodings: Encodings, cycles: torch.Tensor, image: torch.Tensor
    ) -> None:
        chosen, weight = _chosen(group, encodings, cycles)
        if len(chosen) == 0:
            return
        start = group.encoding[chosen]
        features = self.generator.encode(_rows(group.prediction, chosen))
        for back in self._decode(features, torch.arange(len(chosen)), encodings.source[start], image):
            truth = self.view(image, encodings.subject[start[back.encoding]], back.target)
            _add(sums, "cycle", self.loss.reconstruction(back.prediction, truth), weight[back.encoding])

    def _add_adversarial_term(
        self, sums: Terms, group: Translations, encodings: Encodings, cycles: torch.Tensor
    ) -> None:
        if self.discriminators is None:
            return
        chosen, weight = _chosen(group, encodings, cycles)
        for index in group.target[chosen].unique().tolist():
            part = group.target[chosen] == index
            logits = self.discriminators(_rows(group.prediction, chosen[part]), self._names[index])
            _add(sums, "adversarial", self.loss.adversarial(logits), weight[part])


def _chosen(group: Translations, encodings: Encodings, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows of a group whose pair has a weight, and these weights."""
    weight = weights[encodings.subject[group.encoding], encodings.source[group.encoding], group.target]
    rows = torch.nonzero(weight)[:, 0]
    return rows, weight[rows]


def _rows(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Return some rows, in their order; all of them without a copy."""
    return values if len(rows) == len(values) else values[_on(rows, values)]


def _add(sums: Terms, name: str, values: torch.Tensor, weight: torch.Tensor) -> None:
    term = (values * _on(weight, values)).sum()
    sums[name] = sums[name] + term if name in sums else term


def _on(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Move a small tensor from the CPU to the device of another, without waiting for what is computed there."""
    return values.to(like.device, non_blocking=True)
