"""Slots: every entry once, in its row, behind few groups of whole tiles."""

import itertools

import jax
import numpy as np
import pytest
from graphs import quick
from hypothesis import given
from hypothesis import strategies as st

from abkd_jax.graph.slot_shapes import (
    LONGEST,
    MAX_GROUPS,
    SUBLANES,
    SlotShape,
    common_shape,
    exact_shape,
    fits,
    grown,
    part_counts,
    rounded_shape,
)
from abkd_jax.graph.slots import in_slots, lay_out_slots
from abkd_jax.types import InputError

lengths = st.lists(st.one_of(st.integers(0, 40), st.sampled_from([64, 65, 1023, 1024, 1025, 1057])), max_size=12)


def _laid_out(lengths, columns=50, shape=None, padding=0):
    row_ptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    cols = np.random.default_rng(0).integers(0, columns, row_ptr[-1] + padding).astype(np.int32)
    order = np.random.default_rng(1).permutation(row_ptr[-1] + padding).astype(np.int32)
    return row_ptr, cols, order, lay_out_slots(row_ptr, cols, columns, order, shape)


def _rows(slots, first):
    """Of each row what its place leads to, through all levels; `first` are the items of the first level."""
    outputs, levels = [], slots.sizes.levels
    before = None
    for number, sizes in enumerate(levels):
        groups = first if number == 0 else slots.parts[number - 1]
        below = []
        for group, size in zip(groups, sizes, strict=True):
            columns = np.asarray(group).reshape(size, -1).T.tolist()
            below += [[column] if number == 0 else [before[i] for i in column] for column in columns]
        before = [[item for part in own for item in part] for own in below] + [[]] * SUBLANES
        outputs += before
    return [outputs[place] if outputs else [] for place in slots.place]


@quick
@given(lengths, st.sampled_from([None, 1.0, 3.0]), st.integers(0, 3))
def test_every_entry_is_in_its_row_once(lengths, growth, padding):
    """In the least room, and in shapes with room for more; entries past the last row are padding."""
    shape = None if growth is None else grown(common_shape(part_counts(np.array(lengths, int))), growth)
    row_ptr, cols, order, slots = _laid_out(lengths, shape=shape, padding=padding)
    nnz = row_ptr[-1] + padding
    assert all(leaf.dtype == np.int32 for leaf in jax.tree.leaves(slots))
    spans = list(itertools.pairwise(row_ptr))
    entries = [[i for i in own if i != nnz] for own in _rows(slots, slots.entries)]
    assert [sorted(own) for own in entries] == [sorted(order[a:b].tolist()) for a, b in spans]
    columns = [[i for i in own if i != 50] for own in _rows(slots, slots.cols)]
    assert [sorted(own) for own in columns] == [sorted(cols[a:b].tolist()) for a, b in spans]


@quick
@given(lengths)
def test_groups_are_few_and_whole_tiles(lengths):
    _, _, _, slots = _laid_out(lengths)
    for groups, sizes in zip((slots.cols, *slots.parts), slots.sizes.levels, strict=False):
        assert len(groups) == len(sizes) <= MAX_GROUPS
        assert list(sizes) == sorted(set(sizes))
        assert sizes[-1] <= LONGEST
        assert all(group.shape[0] % (size * SUBLANES) == 0 for group, size in zip(groups, sizes, strict=True))


def test_sizes_follow_the_lengths():
    """Two lengths that are far apart have a group each, as soon as there are enough rows."""
    *_, slots = _laid_out([3] * 800 + [24] * 800)
    assert slots.sizes.levels == ((3, 24),)
    *_, slots = _laid_out([3] * 8 + [24] * 8)
    assert slots.sizes.levels == ((24,),)


def test_values_of_empty_slots_are_zero():
    slots = lay_out_slots(np.array([0, 2, 3]), np.array([0, 1, 1], np.int32), 2)
    (values,) = in_slots(slots, np.array([5.0, 6.0, 7.0], np.float32))
    assert values.reshape(2, SUBLANES)[:, :3].tolist() == [[5.0, 7.0, 0.0], [6.0, 0.0, 0.0]]


@quick
@given(lengths, lengths)
def test_rows_have_slots_where_the_shape_fits(seen, others):
    """In shapes that other rows gave, or an error says so; shapes that rows gave themselves hold them."""
    shape, counts = common_shape(part_counts(np.array(seen, int))), part_counts(np.array(others, int))
    if fits(shape, counts):
        _laid_out(others, shape=shape)
    else:
        with pytest.raises(InputError, match="slots"):
            _laid_out(others, shape=shape)
    assert fits(exact_shape(counts), counts)
    assert fits(common_shape(counts), counts)
    assert fits(rounded_shape(counts), counts)


def test_rows_too_long_for_their_groups_take_longer_ones():
    shape = SlotShape((((2, 8), (4, 8)),))
    assert fits(shape, part_counts(np.array([1] * 9 + [4] * 7)))
    assert not fits(shape, part_counts(np.array([1] * 9 + [4] * 8)))
    assert not fits(shape, part_counts(np.array([5])))
    assert not fits(shape, part_counts(np.array([33])))


def test_long_rows_leave_room_for_longer_ones():
    """Rows of 16 entries at most are taken as bounded, as those of sampled neighbours are."""
    bounded, unbounded = (common_shape(part_counts(np.array([length] * 100))) for length in (16, 17))
    assert not fits(bounded, part_counts(np.array([17])))
    assert fits(unbounded, part_counts(np.array([17] * 90 + [LONGEST * 8])))
