"""Importing without the garbage collector."""

import gc

import pytest

from claran_plugin.quick_imports import quick_imports


@pytest.fixture(autouse=True)
def _collecting():
    before = gc.isenabled()
    gc.enable()
    yield
    gc.unfreeze()
    if not before:
        gc.disable()


def test_what_is_made_meanwhile_counts_as_old():
    with quick_imports():
        assert not gc.isenabled()
        made = [[] for _ in range(10_000)]
    assert gc.isenabled()
    old = {id(each) for each in gc.get_objects(generation=2)}
    assert {id(each) for each in made} <= old
    assert gc.get_freeze_count() == 0


def test_garbage_is_collected_all_the_same():
    with quick_imports():
        loop = []
        loop.append(loop)
        del loop
    assert gc.collect() >= 1


def test_what_others_have_frozen_stays_frozen():
    gc.freeze()
    with quick_imports():
        pass
    assert gc.get_freeze_count()


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    with pytest.raises(ImportError), quick_imports():
        raise ImportError
    assert not gc.isenabled()
