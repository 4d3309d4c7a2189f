"""What Müller, Kornblith & Hinton (2019), "When does label smoothing help?", claim."""

from __future__ import annotations

from typing import Any

from softlabels.papers.claims import Tests, claim
from softlabels.papers.identities import gamma_of_smoothed_labels
from softlabels.papers.numbers import Numbers, Values
from softlabels.papers.predicates import (
    above,
    all_of,
    any_of,
    at,
    below,
    best,
    highest,
    identity,
    lowest_at,
    most_of,
    rank_correlated,
    slope,
    within,
)

CALIBRATED = ("cifar100", "imagenet", "wmt_en_de")
"""Data of Table 3."""


@claim("M01", "Sec 2", "table2")
def smoothing_helps_on_cifar100(m: Numbers) -> Tests:
    """Label smoothing 0.1 raises ResNet-56 accuracy on CIFAR-100

    Table 2; the text says it of CIFAR-100, and calls the accuracies on CIFAR-10 similar (M02).
    """
    yield all_of([above(_table2(m, "cifar100", 0.1), _table2(m, "cifar100", 0.0))])


@claim("M02", "Sec 2", "table2", "fig1")
def similar_accuracies_of_different_representations(m: Numbers) -> Tests:
    """On CIFAR-10 accuracies with and without smoothing are similar although the clusters differ

    "Similar" is within 1.0 point, chosen here. That clusters differ is tested by how tight those of training examples
    are, in the first row of Fig. 1.
    """
    yield all_of([within(_table2(m, "cifar10", 0.1), _table2(m, "cifar10", 0.0), 1.0)])
    yield all_of([below(_spread(m, 1, 0.1), _spread(m, 1, 0.0))])


@claim("M03", "Sec 4", "text_mnist")
def smoothed_teacher_beats_dropout_on_mnist(m: Numbers) -> Tests:
    """MNIST: the LS teacher is slightly better than the dropout teacher

    Test errors, of one seed in the paper. By how much is not tested.
    """
    smooth, dropout = (m("text_mnist", "error", method=method, teacher="") for method in ("ls", "ce"))
    yield all_of([below(smooth, dropout)])


@claim("M04", "Sec 4", "text_mnist")
def smoothed_teacher_teaches_worse_on_mnist(m: Numbers) -> Tests:
    """MNIST: the student of the LS teacher is much worse than the student of the hard-target teacher

    By how much is not tested. The students learn by logit matching, T = ∞: no contradiction to C02, which is about T =
    1 (X-23). M30 is at T = 1.
    """
    smooth, hard = (m("text_mnist", "error", teacher_alpha=alpha) for alpha in (0.1, 0.0))
    yield all_of([above(smooth, hard)])


@claim("M05", "Sec 3", "table3", "fig2", "fig3")
def smoothing_lowers_ece(m: Numbers) -> Tests:
    """ECE of label smoothing is below ECE of hard targets

    On each of the three data sets of Table 3, with 15 bins, which the text states for CIFAR-100 alone (X-41).
    """
    yield all_of(below(_ece(m, d, "ls"), _ece(m, d, "ce")) for d in CALIBRATED)


@claim("M06", "Sec 3", "table3")
def temperature_scaling_lowers_ece(m: Numbers) -> Tests:
    """Temperature scaling lowers ECE of hard-target networks

    On each of the three data sets of Table 3. The temperature is tuned on validation.
    """
    yield all_of(below(m("table3", "ece", dataset=d, method="temp_scaling"), _ece(m, d, "ce")) for d in CALIBRATED)


@claim("M07", "Sec 3", "table3")
def smoothing_calibrates_like_temperature_scaling(m: Numbers) -> Tests:
    """Label smoothing calibrates about as well as temperature scaling

    "Similar" is an ECE within 0.015, chosen here, on each of the three data sets.
    """
    yield all_of(
        within(_ece(m, d, "ls"), m("table3", "ece", dataset=d, method="temp_scaling"), 0.015) for d in CALIBRATED
    )


@claim("M08", "Sec 3", "table3")
def best_temperature_is_above_one(m: Numbers) -> Tests:
    """Best calibration temperature of hard-target networks is above 1 (over-confidence)

    On each of the three data sets; the temperature of Table 3.
    """
    yield all_of(above(m("table3", "calibration_temperature", dataset=d), 1.0) for d in CALIBRATED)


@claim("M09", "Sec 3", "fig2", "fig3")
def hard_targets_are_over_confident(m: Numbers) -> Tests:
    """Hard-target networks are over-confident: accuracy below confidence in (nearly) every bin

    Of CIFAR-100 alone the paper says "always", which is more than 0.9 of the examples, chosen here; of all data
    confidence is above accuracy.
    """

    def of(artifact: str, dataset: str, metric: str) -> Values:
        return m(artifact, metric, dataset=dataset, method="ce", teacher="", split="held_out")

    yield all_of([above(of("fig2", "cifar100", "overconfident_share"), 0.9)])
    data = (("fig2", "cifar100"), ("fig2", "imagenet"), ("fig3", "wmt_en_de"))
    yield all_of(above(of(artifact, d, "confidence_gap"), 0.0) for artifact, d in data)


@claim("M10", "Sec 3", "fig4")
def no_temperature_reaches_the_bleu_of_smoothing(m: Numbers) -> Tests:
    """No temperature lets the hard-target Transformer reach the BLEU of the LS Transformer at T=1

    Every T of Fig. 4 that is there.
    """
    yield all_of(below(_fig4(m, 0.0, "bleu", T), _fig4(m, 0.1, "bleu", 1)) for T in _temperatures(m, 0.0, "bleu"))


@claim("M11", "Sec 3", "fig4")
def raising_temperature_helps_hard_targets(m: Numbers) -> Tests:
    """For the hard-target Transformer raising T above 1 lowers ECE and slightly raises BLEU

    One T above 1 that does both is enough: Fig. 4 shows a range of them, and no T is named.
    """
    yield any_of(
        below(_fig4(m, 0.0, "ece", T), _fig4(m, 0.0, "ece", 1))
        & above(_fig4(m, 0.0, "bleu", T), _fig4(m, 0.0, "bleu", 1))
        for T in _temperatures(m, 0.0, "ece", least=1)
    )


@claim("M12", "Sec 3", "fig4")
def other_temperatures_hurt_the_smoothed_transformer(m: Numbers) -> Tests:
    """For the LS Transformer moving T away from 1 degrades both ECE and BLEU

    T = 1 is better than every other T of Fig. 4.
    """
    for metric in ("ece", "bleu"):
        curve = {T: _fig4(m, 0.1, metric, T) for T in _temperatures(m, 0.1, metric)}
        yield all_of([best(curve, [1.0], lowest=metric == "ece")])


@claim("M13", "Sec 3", "fig4")
def hard_targets_have_lower_nll(m: Numbers) -> Tests:
    """The hard-target Transformer has lower NLL than the LS one at every temperature

    Every T of Fig. 4 that is there.
    """
    yield all_of(below(_fig4(m, 0.0, "nll", T), _fig4(m, 0.1, "nll", T)) for T in _temperatures(m, 0.0, "nll"))


@claim("M14", "Sec 3", "fig4")
def ece_predicts_the_best_bleu_better_than_nll(m: Numbers) -> Tests:
    """The ECE minimum predicts the best BLEU slightly better than the NLL minimum

    Distances in T, seed by seed, of the hard-target network; the text names none. A minimum between the T of the figure
    is that of a parabola through three of them.
    """

    def place(metric: str) -> Values:
        T, sign = _temperatures(m, 0.0, metric), -1.0 if metric == "bleu" else 1.0
        return lowest_at(T, [sign * _fig4(m, 0.0, metric, t) for t in T])

    yield all_of([below(abs(place("ece") - place("bleu")), abs(place("nll") - place("bleu")), unit="T")])


@claim("M15", "Sec 1, Sec 3, Table 1", "table1", "fig4")
def smoothing_raises_bleu_and_perplexity(m: Numbers) -> Tests:
    """Smoothing improves BLEU but worsens perplexity

    In print a survey of literature (Table 1); of ours the Transformers of Fig. 4, by likelihood, of which perplexity is
    the exponential.
    """
    for metric, surveyed in (("bleu", "bleu"), ("nll", "perplexity")):
        table1 = {"artifact": "table1", "metric": surveyed, "split": ""}
        smooth, hard = (
            m("fig4", f"{metric}_T1", teacher="", student_alpha=alpha, split="val", in_print=table1)
            for alpha in (0.1, 0.0)
        )
        yield all_of([above(smooth, hard)])


@claim("M16", "Sec 4", "fig5", against=["Y07"])
def accuracy_rises_with_alpha(m: Numbers) -> Tests:
    """CIFAR-10 teacher accuracy rises with alpha up to about 0.6

    The best α is 0.45, 0.6 or 0.75; 0.6 is better than 0, and a straight line through 0 to 0.6 rises.
    """
    curve = {alpha: _teacher(m, alpha) for alpha in (0.0, 0.15, 0.3, 0.45, 0.6, 0.75)}
    yield all_of([best(curve, [0.45, 0.6, 0.75])])
    yield all_of([above(curve[0.6], curve[0.0])])
    rise = [*curve][:5]
    yield all_of([above(slope(rise, [curve[alpha] for alpha in rise]), 0.0, unit="points per α")])


@claim("M17", "Sec 4", "fig5", against=["Y12", "Z09"])
def smoothing_lowers_the_alexnet_baseline(m: Numbers) -> Tests:
    """Label smoothing slightly lowers the AlexNet student baseline

    Rank correlation over alpha per seed, and most smoothed baselines below the hard one. "Slightly": none by more than
    2 points, chosen here.
    """
    every = _alphas(m, "alexnet", least=-1)
    yield all_of([rank_correlated(every, [_baseline(m, alpha) for alpha in every], -1)])
    yield most_of(below(_baseline(m, alpha), _baseline(m, 0.0)) for alpha in _alphas(m, "alexnet"))
    yield all_of(above(_baseline(m, alpha), _baseline(m, 0.0), margin=-2.0) for alpha in _alphas(m, "alexnet"))


@claim("M18", "Sec 4", "fig5")
def students_of_hard_teachers_beat_smoothed_baselines(m: Numbers) -> Tests:
    """Every student distilled from the hard-target teacher (all T) beats the LS baseline student

    Fig. 5 compares at equal gamma, the share of a label that is not the true class's: with the baseline between those
    of the two nearest alpha, seed by seed, or of the largest.
    """
    every = m.present("kd_temperature", "fig5", "top1", teacher_alpha=0.0, **FIG5_STUDENT)
    yield all_of(above(_student(m, 0.0, T), _baseline_like(m, 0.0, T)) for T in every)


@claim("M19", "Sec 4", "fig5")
def smoothed_teachers_are_no_better_than_smoothing(m: Numbers) -> Tests:
    """Students of LS teachers are no better, sometimes worse, than training the student directly with LS

    At T = 1 and equal gamma, as M18. "No better" is at most 0.5 points better, chosen here, of every teacher;
    "sometimes worse" of one.
    """
    alphas = m.present("teacher_alpha", "fig5", "top1", above=0.0, kd_temperature=1, **FIG5_STUDENT)
    pairs = [(_student(m, alpha, 1), _baseline_like(m, alpha, 1)) for alpha in alphas]
    yield all_of(below(student, baseline, margin=-0.5) for student, baseline in pairs)
    yield any_of(below(student, baseline) for student, baseline in pairs)


@claim("M20", "Sec 4", "fig5")
def better_networks_may_teach_worse(m: Numbers) -> Tests:
    """A more accurate teacher is not necessarily the better distiller

    One smoothed teacher is enough that is the better network and the worse teacher, both at T = 1.
    """
    yield any_of(
        above(_teacher(m, alpha), _teacher(m, 0.0)) & above(_student(m, 0.0, 1), _student(m, alpha, 1))
        for alpha in _alphas(m, "resnet56")
    )


@claim("M21", "Sec 4", "fig6")
def mutual_information_rises_then_falls(m: Numbers) -> Tests:
    """Mutual information is very small after initialisation, rises, then falls

    Of both networks. "Very small" is below half of log 2, chosen here; the highest value is neither the first nor the
    last.
    """
    curves = [_information(m, alpha) for alpha in (0.0, 0.1)]
    yield all_of(below(own[0], 0.3466) for own in curves)
    yield all_of(best(dict(enumerate(own)), range(1, len(own) - 1)) for own in curves)


@claim("M22", "Sec 4", "fig6")
def mutual_information_ends_near_log_two(m: Numbers) -> Tests:
    """Late in training mutual information stays slightly above log 2

    log 2 is the paper's limit of examples that collapse to two clusters, with no information but the class. Its
    estimator does not give log 2 for these but, of five draws, 0.805 (reused) or 0.627 (fresh): a network without any
    information seems to lie slightly above log 2 too (M-MI). So the value is compared with that of collapsed clusters,
    by both readings; "slightly" is by at most 0.2 nats, chosen here. Read on the smoothed network, since the text does
    not say which of the two curves approaches log 2.
    """
    for draws in ("reused", "fresh"):
        end = _final_information(m, 0.1, draws)
        collapsed = _final_information(m, 0.1, f"{draws}_collapsed")
        yield all_of([above(end, collapsed)])
        yield all_of([within(end, collapsed, 0.2)])


@claim("M23", "Sec 2", "fig1")
def smoothing_tightens_clusters(m: Numbers) -> Tests:
    """LS makes training clusters in the projection tighter, for every network

    The share of the variance that lies within the classes, of the first three rows of Fig. 1.
    """
    yield all_of(below(_spread(m, row, 0.1), _spread(m, row, 0.0)) for row in (1, 2, 3))


@claim("M24", "Sec 2", "fig1")
def smoothed_clusters_are_regular_triangles(m: Numbers) -> Tests:
    """LS clusters form more regular triangles than clusters without LS

    Longest side ÷ shortest side of the triangle of class means, 1 where it is regular.
    """
    metrics = [f"mean_triangle_regularity_row{row}" for row in (1, 2, 3)]
    yield all_of(below(_fig1(m, metric, 0.1), _fig1(m, metric, 0.0)) for metric in metrics)


@claim("M25", "Sec 2", "fig1")
def projections_are_larger_without_smoothing(m: Numbers) -> Tests:
    """Projection scale is larger without LS

    The text says it of CIFAR-100, the second row.
    """
    yield all_of([above(_fig1(m, "projection_extent_row2", 0.0), _fig1(m, "projection_extent_row2", 0.1))])


@claim("M26", "Sec 3", "fig1")
def validation_clusters_spread_with_smoothing(m: Numbers) -> Tests:
    """With LS clusters of CIFAR-100 that are tight in training spread on validation

    The text says it of one cluster of the second row of Fig. 1. The share of the variance within the classes is larger
    on validation. That they spread towards the centre is not tested.
    """
    yield all_of([above(_spread(m, 2, 0.1, "held_out") / _spread(m, 2, 0.1), 1.0, unit="ratio")])


@claim("M27", "Sec 2", "fig1")
def similar_classes_lie_in_an_arc(m: Numbers) -> Tests:
    """Two similar ImageNet classes lie in an arc with LS and as isotropic blobs without

    Spread of the distance to the third template ÷ spread along the arc about it, of the two similar classes: smaller
    with LS than without.
    """
    yield all_of([below(_fig1(m, "arc_ratio_row4", 0.1), _fig1(m, "arc_ratio_row4", 0.0))])


@claim("M28", "App B", "fig7")
def translation_clusters_tighten_too(m: Numbers) -> Tests:
    """Translation projections show the same tightening

    The share of the variance of training tokens that lies within the three classes.
    """
    yield all_of([below(_spread(m, 1, 0.1, artifact="fig7"), _spread(m, 1, 0.0, artifact="fig7"))])


@claim("M29", "Sec 4", "fig5", kind="identity")
def gamma_is_alpha(m: Numbers) -> Tests:
    """gamma equals alpha when the targets are label-smoothed one-hot vectors"""
    yield all_of([identity(gamma_of_smoothed_labels)])


@claim("M30", "abstract, Sec 1, Sec 4", "fig5", against=["C02"])
def smoothed_teachers_teach_worse(m: Numbers) -> Tests:
    """Teachers trained with label smoothing produce inferior students

    Said of label smoothing in general ("much less effective"; by how much is not tested). Fig. 5 has students of all
    teachers at T = 1: of every smoothed teacher the student is worse than that of the hard-target teacher.
    """
    alphas = m.present("teacher_alpha", "fig5", "top1", above=0.0, kd_temperature=1, **FIG5_STUDENT)
    yield all_of(below(_student(m, alpha, 1), _student(m, 0.0, 1)) for alpha in alphas)


@claim("M31", "App B", "text_appB")
def translation_errs_in_training(m: Numbers) -> Tests:
    """Next-token accuracy of translation is well below 100 % in training too

    "Around 80 %" in the text, of one network that is not named. Below 95 %, chosen here.
    """

    def accuracy(alpha: float) -> Values:
        own = {"teacher": "", "student_alpha": alpha, "split": "train"}
        return m("text_appB", "next_token_accuracy", {"student_alpha": ""}, **own)

    yield all_of(below(accuracy(alpha), 95.0, own_data=True) for alpha in (0.0, 0.1))


@claim("M32", "Sec 4", "fig6")
def smoothing_erases_information(m: Numbers) -> Tests:
    """Mutual information falls especially for the network with LS, which ends lower

    The fall from the highest value is larger, and the end lower, than of the network on hard targets.
    """
    smooth, hard = (_final_information(m, alpha) for alpha in (0.1, 0.0))
    yield all_of([below(smooth, hard)])
    yield all_of([above(highest(_information(m, 0.1)) - smooth, highest(_information(m, 0.0)) - hard)])


@claim("M33", "Sec 4", "fig5")
def smoothed_teachers_are_better_networks(m: Numbers) -> Tests:
    """Teachers trained with label smoothing have better accuracy than the hard-target teacher

    Each α of Fig. 5.
    """
    yield all_of(above(_teacher(m, alpha), _teacher(m, 0.0)) for alpha in _alphas(m, "resnet56"))


# ------------------------------------------------------------ what several claims select

FIG5_STUDENT: dict[str, Any] = {"dataset": "cifar10", "teacher": "resnet56", "student": "alexnet"}


def _table2(m: Numbers, dataset: str, alpha: float) -> Values:
    return m("table2", "top1", dataset=dataset, student_alpha=alpha)


def _ece(m: Numbers, dataset: str, method: str) -> Values:
    return m("table3", "ece", dataset=dataset, method=method, teacher="")


def _fig1(m: Numbers, metric: str, alpha: float, split: str = "train", artifact: str = "fig1") -> Values:
    return m(artifact, metric, teacher="", student_alpha=alpha, split=split)


def _spread(m: Numbers, row: int, alpha: float, split: str = "train", artifact: str = "fig1") -> Values:
    return _fig1(m, f"within_class_spread_ratio_row{row}", alpha, split, artifact)


def _fig4(m: Numbers, alpha: float, metric: str, T: float) -> Values:
    return m("fig4", f"{metric}_T{T:g}", teacher="", student_alpha=alpha, split="val")


def _temperatures(m: Numbers, alpha: float, metric: str, least: float = -1) -> list[float]:
    return m.present("metric", "fig4", f"{metric}_T", above=least, teacher="", student_alpha=alpha)


def _teacher(m: Numbers, alpha: float) -> Values:
    return m("fig5", "top1", dataset="cifar10", teacher="", student="resnet56", student_alpha=alpha)


def _baseline(m: Numbers, alpha: float) -> Values:
    return m("fig5", "top1", dataset="cifar10", teacher="", student="alexnet", student_alpha=alpha)


def _baseline_like(m: Numbers, alpha: float, T: float) -> Values:
    """The baseline at the gamma of the labels that a student of T learned from."""
    gamma = m("fig5", "gamma", teacher_alpha=alpha, kd_temperature=T, split="train", **FIG5_STUDENT)
    every = _alphas(m, "alexnet", least=-1)
    return at(gamma, every, [_baseline(m, one) for one in every])


def _alphas(m: Numbers, student: str, least: float = 0.0) -> list[float]:
    """Of the networks on labels, above the least."""
    return m.present("student_alpha", "fig5", "top1", above=least, dataset="cifar10", teacher="", student=student)


def _student(m: Numbers, alpha: float, T: float) -> Values:
    return m("fig5", "top1", teacher_alpha=alpha, kd_temperature=T, **FIG5_STUDENT)


def _information(m: Numbers, alpha: float) -> list[Values]:
    """Over the steps of training."""
    metric = "mutual_information_reused_step"
    own: dict[str, Any] = {"teacher": "", "student_alpha": alpha}
    return [m("fig6", f"{metric}{step:g}", split="train", **own) for step in m.present("metric", "fig6", metric, **own)]


def _final_information(m: Numbers, alpha: float, draws: str = "reused") -> Values:
    return m("fig6", f"mutual_information_{draws}", teacher="", student_alpha=alpha, split="train")
