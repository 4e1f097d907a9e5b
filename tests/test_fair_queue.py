"""A queue in which callers take turns."""

import pytest

from jobd.fair_queue import FairQueue


def test_callers_take_turns_and_each_gets_its_own_in_order() -> None:
    queue = FairQueue[str]()
    for who, item in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")]:
        queue.put(who, item)
    assert len(queue) == 6
    assert [queue.get() for _ in range(6)] == ["a1", "b1", "c1", "a2", "b2", "a3"]
    assert not queue
    with pytest.raises(IndexError):
        queue.get()


def test_what_is_over_is_dropped_where_it_is_first() -> None:
    queue = FairQueue[int]()
    for who, item in [("a", 1), ("a", 2), ("b", 3), ("a", 5), ("c", 6)]:
        queue.put(who, item)
    queue.drop_first_while(lambda item: item % 2 == 1)
    assert [queue.get() for _ in range(len(queue))] == [2, 6, 5]


def test_an_item_is_taken_out_and_leaves_the_others_in_their_order() -> None:
    queue = FairQueue[str]()
    for who, item in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("a", "a3")]:
        queue.put(who, item)
    assert queue.newest_of_longest() == ("a", "a3")
    assert queue.remove("a", "a2")
    assert not queue.remove("a", "a2")
    assert not queue.remove("c", "a1")
    assert queue.remove("b", "b1")
    assert ("a" in queue, "b" in queue, len(queue)) == (True, False, 2)
    assert [queue.get() for _ in range(2)] == ["a1", "a3"]
