"""The seeded split: disjoint, stratified, deterministic."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from softlabels.data.source import divide, take_stratified

PINNED = [4, 5, 7, 10, 12, 17, 18, 35]
LABELS = st.lists(st.integers(0, 6), min_size=2, max_size=120).map(lambda x: np.array(x, dtype=np.int64))


@settings(max_examples=60)
@given(labels=LABELS, data=st.data(), seed=st.integers(0, 2**31))
def test_split_is_disjoint_complete_and_stratified(labels, data, seed):
    holdout = data.draw(st.integers(0, len(labels) - 1))
    train, val = divide(labels, holdout, rule="stratified", seed=seed)
    assert len(val) == holdout
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert list(train) == sorted(train)
    assert list(val) == sorted(val)
    for label in np.unique(labels):  # each class within one example of its share
        share = holdout * (labels == label).sum() / len(labels)
        assert abs((labels[val] == label).sum() - share) < 1


@settings(max_examples=30)
@given(labels=LABELS, data=st.data())
def test_limit_keeps_a_subset_of_what_the_split_left(labels, data):
    holdout = data.draw(st.integers(0, len(labels) - 1))
    limit = data.draw(st.integers(1, len(labels) - holdout))
    train, val = divide(labels, holdout, rule="stratified", seed=1)
    kept, same_val = divide(labels, holdout, rule="stratified", seed=1, limit=limit)
    assert len(kept) == limit
    assert set(kept) <= set(train)
    assert np.array_equal(val, same_val)


def test_split_is_pinned_and_follows_its_seed():
    labels = np.arange(40) % 4
    assert divide(labels, 8, rule="stratified", seed=0)[1].tolist() == PINNED
    other = divide(labels, 8, rule="stratified", seed=1)[1].tolist()
    assert other != PINNED


def test_last_takes_the_last():
    train, val = divide(np.zeros(10, dtype=np.int64), 3, rule="last", seed=0)
    assert train.tolist() == list(range(7))
    assert val.tolist() == [7, 8, 9]


def test_purposes_draw_from_different_streams():
    labels = np.zeros(200, dtype=np.int64)
    masks = [take_stratified(labels, 100, 0, purpose) for purpose in ("holdout", "limit", "test")]
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])


def test_remainders_go_to_the_largest_fractions_first():
    labels = np.repeat([0, 1, 2], [5, 3, 2])
    taken = labels[take_stratified(labels, 5, 0, "holdout")]
    # Shares 2.5, 1.5, 1.0: one place is left, both fractions are equal, the lower class wins.
    assert np.bincount(taken, minlength=3).tolist() == [3, 1, 1]
