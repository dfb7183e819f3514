"""Views that no release fills: their rows are carried over when the features change, whoever writes meanwhile."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from lifecycle.definitions import Field
from lifecycle.engine.selection import Selection
from lifecycle.errors import PlatformError
from lifecycle.online.codec import schema_hash
from lifecycle.online.holding import covers, hold
from lifecycle.online.read import part_of
from tests.online_cases import VIEW, rows

OLD = replace(VIEW, ttl_us=None, deleted=None)
NEW = replace(OLD, features=(Field("more", "DOUBLE"), *OLD.features))
COUNT = 12_000


def written(store, view, keys, at=10):
    """Write rows (key, the key's number, its word); return whether the store still holds the view."""
    given = [(f"c{one}", at, at, False, one, f"w{one}") for one in keys]
    try:
        store.put(view, rows(*given, view=OLD), at=at)
    except PlatformError:
        return False
    return True


def held(store, view):
    """Return the values by key of all rows held."""
    space = store.catalog()[1].of(view.name).serving
    assert space.schema == schema_hash(view).hex()
    names = tuple(field.name for field in view.features)
    part = part_of(Selection(view, names, names, ("consumer_id",)))
    return {key[4:].decode(): list(part.answer(entry, 100).values) for key, entry in store.backend.scan(space.prefix)}


def test_what_is_written_while_rows_are_carried_over_comes_over_too(store):
    hold(store, OLD, schema_hash(OLD))
    written(store, OLD, range(COUNT))

    def write_on():
        number = COUNT
        while written(store, OLD, [number]):
            number += 1
        return number

    with ThreadPoolExecutor(3) as pool:
        writing = pool.submit(write_on)
        for one in [pool.submit(hold, store, NEW, schema_hash(NEW)) for _ in range(2)]:
            one.result()
        number = writing.result()
    assert held(store, NEW) == {f"c{one}": [None, one, f"w{one}"] for one in range(number)}
    assert store.catalog()[1].dropped == []
    assert store.catalog()[1].of(VIEW.name).loading is None


def test_a_row_written_again_beats_the_one_carried_over_and_an_older_one_does_not(store):
    hold(store, OLD, schema_hash(OLD))
    written(store, OLD, [1, 2, 3])
    hold(store, NEW, schema_hash(NEW))
    again = replace(rows(("c1", 10, 10, False, 1, "w1"), ("c2", 10, 5, False, 9, "w9"), view=OLD))
    store.put(NEW, replace(again, features=[again.features[0].cast("double"), *again.features]), at=10)
    assert held(store, NEW) == {"c1": [1.0, 1, "w1"], "c2": [None, 2, "w2"], "c3": [None, 3, "w3"]}


def test_a_key_known_by_its_hash_alone_goes_and_held_views_stand(store):
    hold(store, OLD, schema_hash(OLD))
    store.put(OLD, rows(("k" * 500, 10, 10, False, 1, "a"), ("k" * 400, 10, 10, False, 2, "b"), view=OLD), at=10)
    hold(store, NEW, schema_hash(NEW))
    before = store.catalog()[1].views
    hold(store, NEW, schema_hash(NEW))
    assert held(store, NEW) == {"k" * 400: [None, 2, "b"]}
    assert store.catalog()[1].views == before


def test_a_view_covers_those_with_its_keys_and_some_of_its_features():
    assert covers(NEW, OLD)
    assert covers(NEW, replace(NEW, features=NEW.features[::-1]))
    assert not covers(OLD, NEW)
    assert not covers(NEW, replace(OLD, features=(Field("amount", "DOUBLE"),)))
    assert not covers(NEW, replace(OLD, keys=(Field("consumer_id", "BIGINT"),)))
