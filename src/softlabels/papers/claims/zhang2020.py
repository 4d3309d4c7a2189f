"""What Zhang & Sabuncu (2020), "Self-distillation as instance-specific label smoothing", claim."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from softlabels.papers.claims import Tests, claim
from softlabels.papers.identities import (
    entropy_rises_with_temperature,
    hot_teacher_is_smoothing,
    smoothing_has_no_diversity,
)
from softlabels.papers.numbers import Numbers, Values
from softlabels.papers.predicates import (
    above,
    all_of,
    below,
    best,
    correlated,
    highest,
    identity,
    most_of,
    rank_correlated,
    slope,
    within,
)

GENERATIONS = range(1, 11)
SETTINGS = tuple(itertools.product(("cifar100", "cub200", "tiny_imagenet"), ("resnet", "densenet")))
"""Data and networks of Fig. 3."""
REGULARISERS = ("ls", "beta_smoothing", "self_distillation")


@claim("Z01", "Sec 4.3", "fig1")
def accuracy_rises_over_generations(m: Numbers) -> Tests:
    """Test accuracy tends to rise over 10 generations of self-distillation

    "Tends to": the rank correlation with the generation is positive, and the tenth is better than the first, and than
    the network on labels.
    """
    curve = _generations(m, "top1")
    yield all_of([rank_correlated(GENERATIONS, curve)])
    yield all_of(above(curve[-1], one) for one in (curve[0], m("fig1", "top1_generation0", split="held_out")))


@claim("Z02", "Sec 4.3", "fig1")
def uncertainty_and_diversity_rise_over_generations(m: Numbers) -> Tests:
    """Average predictive uncertainty and confidence diversity of the teacher rise over generations

    The rank correlation of both with the generation is positive.
    """
    yield all_of(
        rank_correlated(GENERATIONS, _generations(m, metric, "train"))
        for metric in ("predictive_uncertainty", "confidence_diversity")
    )


@claim("Z03", "Sec 4.3", "fig1")
def nll_improves_over_generations(m: Numbers) -> Tests:
    """NLL improves over generations

    The tenth generation against the first, and against the network on labels.
    """
    curve = _generations(m, "nll")
    yield all_of(below(curve[-1], one) for one in (curve[0], m("fig1", "nll_generation0", split="held_out")))


@claim("Z04", "Sec 4.3", "fig2", kind="identity")
def uncertainty_rises_with_temperature(m: Numbers) -> Tests:
    """Average predictive uncertainty rises strictly with T

    So it does for all logits.
    """
    yield all_of([identity(entropy_rises_with_temperature)])


@claim("Z05", "Sec 4.3", "fig2")
def diversity_levels_off(m: Numbers) -> Tests:
    """Confidence diversity rises with T and plateaus after T=2.5

    A plateau is a slope, up or down, below a fifth of the one before, chosen here; both of a straight line through all
    T. That uncertainty keeps rising is so for all logits, and not tested (Z04).
    """
    late, early = (
        slope(*_sweep(m, "confidence_diversity", "train", **limits)) for limits in ({"least": 2.4}, {"most": 2.6})
    )
    yield all_of([above(early, 0.0, unit="nats per T")])
    yield all_of([below(abs(late), 0.2 * early, unit="nats per T")])


@claim("Z06", "Sec 4.3", "fig2")
def accuracy_levels_off_with_diversity(m: Numbers) -> Tests:
    """Student accuracy rises with T and stagnates where confidence diversity plateaus

    It is higher at T = 2.5 than at 1. "Stagnates" is within 0.5 points of T = 2.5, chosen here. It goes with diversity
    more closely than with uncertainty; the correlations are Pearson's, since ranks cannot see a plateau.
    """

    def accuracy(T: float) -> Values:
        return m("fig2", f"top1_T{T:g}", split="held_out")

    yield all_of([above(accuracy(2.5), accuracy(1))])
    later = m.present("metric", "fig2", "top1_T", above=2.5)
    yield all_of(within(accuracy(T), accuracy(2.5), 0.5) for T in later)
    _, curve = _sweep(m, "top1", "held_out")
    diversity, uncertainty = (
        correlated(curve, _sweep(m, metric, "train")[1])
        for metric in ("confidence_diversity", "predictive_uncertainty")
    )
    yield all_of([above(diversity, uncertainty, unit="correlation")])


@claim("Z07", "Sec 4.3", "fig1", "fig2")
def one_generation_is_enough(m: Numbers) -> Tests:
    """One generation at a good T beats the best of 10 generations at T=1

    The best T and the best generation, seed by seed. "Much greater": by how much is not tested.
    """
    _, curve = _sweep(m, "top1", "held_out", least=1.0)
    yield all_of([above(highest(curve), highest(_generations(m, "top1")))])


@claim("Z08", "Sec 4.3", "fig2")
def nll_falls_then_rises(m: Numbers) -> Tests:
    """NLL first falls, then rises again at too high T

    The lowest NLL is at neither end of Fig. 2.
    """
    T, curve = _sweep(m, "nll", "held_out")
    yield all_of([best(dict(zip(T, curve, strict=True)), T[1:-1], lowest=True)])


@claim("Z09", "Sec 7.2", "fig3")
def regularisers_raise_accuracy(m: Numbers) -> Tests:
    """LS, Beta smoothing and self-distillation all beat cross-entropy in accuracy

    Each method in each of the six settings of Fig. 3.
    """
    yield all_of(above(*_pair(m, "top1", setting, method, "ce")) for setting in SETTINGS for method in REGULARISERS)


@claim("Z10", "Sec 7.2", "fig3")
def self_distillation_beats_smoothing(m: Numbers) -> Tests:
    """Self-distillation beats LS in accuracy in all six settings"""
    yield all_of(above(*_pair(m, "top1", setting, "self_distillation", "ls")) for setting in SETTINGS)


@claim("Z11", "Sec 7.2", "fig3")
def beta_smoothing_beats_smoothing(m: Numbers) -> Tests:
    """Beta smoothing beats LS in all settings except CIFAR-100 ResNet (so on CUB and Tiny-ImageNet for both models, and
    CIFAR-100 DenseNet)

    On CIFAR-100 with the ResNet Beta smoothing "does not outperform", which is by at most 0.5 points, chosen here.
    """
    excepted = ("cifar100", "resnet")
    pairs = {setting: _pair(m, "top1", setting, "beta_smoothing", "ls") for setting in SETTINGS}
    yield all_of(above(beta, smooth) for setting, (beta, smooth) in pairs.items() if setting != excepted)
    beta, smooth = pairs[excepted]
    yield all_of([below(beta, smooth, margin=-0.5)])


@claim("Z12", "Sec 7.2", "fig3")
def beta_smoothing_reaches_self_distillation(m: Numbers) -> Tests:
    """Beta smoothing reaches self-distillation on CUB-200

    "Reaches" is at most 1.0 point below, in place of one standard deviation, chosen here.
    """
    birds = [setting for setting in SETTINGS if setting[0] == "cub200"]
    yield all_of(
        above(*_pair(m, "top1", setting, "beta_smoothing", "self_distillation"), margin=-1.0) for setting in birds
    )


@claim("Z13", "Sec 7.2", "fig3")
def regularisers_lower_ece(m: Numbers) -> Tests:
    """All regularisers lower ECE against cross-entropy

    Each method in each of the six settings, with 20 bins.
    """
    yield all_of(below(*_pair(m, "ece20", setting, method, "ce")) for setting in SETTINGS for method in REGULARISERS)


@claim("Z14", "Sec 7.2", "fig3")
def self_distillation_calibrates_better(m: Numbers) -> Tests:
    """Self-distillation has lower ECE than LS in general

    "In general" is in most of the six settings. "Much": by how much is not tested.
    """
    yield most_of(below(*_pair(m, "ece20", setting, "self_distillation", "ls")) for setting in SETTINGS)


@claim("Z15", "Sec 7.2", "fig3")
def beta_smoothing_calibrates_better(m: Numbers) -> Tests:
    """Beta smoothing has lower ECE than LS

    In each of the six settings. "Much": by how much is not tested.
    """
    yield all_of(below(*_pair(m, "ece20", setting, "beta_smoothing", "ls")) for setting in SETTINGS)


@claim("Z16", "Sec 7.2", "fig3")
def beta_smoothing_calibrates_like_self_distillation(m: Numbers) -> Tests:
    """Beta smoothing ECE compares favourably with self-distillation in most settings

    Lower in most of the six settings.
    """
    yield most_of(below(*_pair(m, "ece20", setting, "beta_smoothing", "self_distillation")) for setting in SETTINGS)


@claim("Z17", "Sec 7.1", "fig3", kind="protocol")
def labels_have_one_mean(m: Numbers) -> Tests:
    """Average true-class target of self-distillation is that of LS and Beta smoothing (~0.85)

    Within 0.01, on the views on which T is solved for; where no T gives 0.85, the nearest stands in. That of LS and of
    Beta smoothing is 0.85 by construction, and not tested.
    """
    yield all_of(
        within(
            m("fig3", "mean_label", dataset=d, method="self_distillation", student=n, split="train"),
            0.85,
            0.01,
            equal=True,
        )
        for d, n in SETTINGS
    )


@claim("Z18", "Sec 3.1, App A.2 (the appendix is not at hand)", "fig3", "fig3_variants")
def softening_the_teacher_alone_calibrates_better(m: Numbers) -> Tests:
    """Softening only the teacher gives better calibrated students than softening both

    On CIFAR-100 with the ResNet; by how much is not tested. The other reading is a variant: --config variants=true.
    """
    both = _variant(m, "ece20", "self_distillation_both_tempered")
    yield all_of([below(_fig3(m, "ece20", "cifar100", "self_distillation", "resnet"), both)])


@claim("Z19", "Sec 6", "fig3_variants")
def ranking_by_an_average_is_better(m: Numbers) -> Tests:
    """Beta smoothing is better if an EMA of the network ranks the examples than if the network itself does

    Top-1 of the ResNet on CIFAR-100; "significant": by how much is not tested. Ranking by the network itself is a
    variant: --config variants=true.
    """
    yield all_of([above(_variant(m, "top1", "beta_smoothing"), _variant(m, "top1", "beta_smoothing_current"))])


@claim("Z20", "Sec 5.2", "fig3", kind="identity")
def hot_teachers_are_smoothing(m: Numbers) -> Tests:
    """As T goes to infinity self-distillation becomes label smoothing with a uniform prior"""
    yield all_of([identity(hot_teacher_is_smoothing)])


@claim("Z21", "Sec 5.1, 5.3", "fig3", kind="identity")
def smoothing_raises_uncertainty_alone(m: Numbers) -> Tests:
    """The targets of LS have more entropy than labels, and one true-class value, without diversity

    The paper says it of predictions.
    """
    yield all_of([identity(smoothing_has_no_diversity)])


@claim("Z22", "Sec 6, App A.8 (the appendix is not at hand)", "fig3_variants", kind="implicit")
def ranking_matters(m: Numbers) -> Tests:
    """Beta smoothing that ranks the examples is better than draws dealt out at random

    The paper tests "the importance of ranking" by it; what it found stands in the appendix. Top-1 of the ResNet on
    CIFAR-100. Draws dealt out at random are a variant: --config variants=true.
    """
    yield all_of([above(_variant(m, "top1", "beta_smoothing"), _variant(m, "top1", "beta_smoothing_random"))])


@claim("Z23", "Sec 1, Sec 8", "fig1")
def accuracy_goes_with_diversity(m: Numbers) -> Tests:
    """Improvement over generations is correlated with the diversity of the teachers' predictions

    Pearson's correlation over the generations, seed by seed.
    """
    found = correlated(_generations(m, "top1"), _generations(m, "confidence_diversity", "train"))
    yield all_of([above(found, 0.0, unit="correlation")])


# ------------------------------------------------------------ what several claims select


def _generations(m: Numbers, metric: str, split: str = "held_out") -> Sequence[Values]:
    return [m("fig1", f"{metric}_generation{g}", split=split) for g in GENERATIONS]


def _sweep(
    m: Numbers, metric: str, split: str, least: float = -math.inf, most: float = math.inf
) -> tuple[Sequence[float], Sequence[Values]]:
    """The temperatures of Fig. 2 between the limits, and the metric at each."""
    temperatures = m.present("metric", "fig2", f"{metric}_T", above=least, below=most)
    return temperatures, [m("fig2", f"{metric}_T{T:g}", split=split) for T in temperatures]


def _variant(m: Numbers, metric: str, method: str) -> Values:
    return m("fig3_variants", metric, dataset="cifar100", method=method, student="resnet", split="held_out")


def _fig3(m: Numbers, metric: str, dataset: str, method: str, student: str) -> Values:
    return m("fig3", metric, dataset=dataset, method=method, student=student, split="held_out")


def _pair(m: Numbers, metric: str, setting: tuple[str, str], method: str, other: str) -> tuple[Values, Values]:
    """Two methods on one data set and network."""
    dataset, student = setting
    return _fig3(m, metric, dataset, method, student), _fig3(m, metric, dataset, other, student)
