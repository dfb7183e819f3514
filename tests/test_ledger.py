from __future__ import annotations

import sqlite3
from dataclasses import replace

import pytest

from lifecycle.errors import UsageError
from lifecycle.lake import Ledger
from tests.lake_content import CHARGES, read, release, write
from tests.test_definitions import KNOWN


def test_without_a_release_the_ledger_says_so_and_makes_nothing(lake):
    ledger = Ledger(lake)
    assert ledger.all() == []
    assert ledger.serving() is None
    with pytest.raises(UsageError, match="there is no release yet"):
        ledger.get()
    with pytest.raises(UsageError, match=r"there is no release 3. There are: none"):
        ledger.get(3)
    assert not lake.settings.home.exists()


def test_a_release_is_read_back_whole(lake):
    made = replace(release(lake, 1, 5), number=2, definitions=KNOWN)
    Ledger(lake).append(made)
    assert Ledger(lake).get(2) == made
    assert [one.number for one in Ledger(lake).all()] == [1, 2]


def test_two_releases_of_different_data_each_read_their_own(lake):
    first = release(lake, 1, write(lake, *CHARGES))
    second = release(lake, 2, write(lake, "UPDATE lake.core.charges SET amount = amount + 1"))
    total = "SELECT sum(amount) FROM lake.core.charges"
    assert read(lake, total, first.snapshot) == [(4500,)]
    assert read(lake, total, second.snapshot) == [(4510,)]


def test_the_newest_release_serves_until_one_is_rolled_back_to(lake):
    ledger = Ledger(lake)
    for number in (1, 2, 3):
        release(lake, number, number)
        assert ledger.serving() == number
    assert ledger.roll_back(1).number == 1
    assert ledger.serving() == 1
    assert ledger.get().snapshot == 1
    assert [one.number for one in ledger.all()] == [1, 2, 3]
    release(lake, 4, 4)
    assert ledger.serving() == 4


def test_rolling_back_to_what_is_not_there_changes_nothing(lake):
    release(lake, 1, 1)
    release(lake, 2, 2)
    with pytest.raises(UsageError, match=r"there is no release 7. There are: 1, 2"):
        Ledger(lake).roll_back(7)
    assert Ledger(lake).serving() == 2


def test_a_number_is_given_once(lake):
    release(lake, 1, 1)
    with pytest.raises(sqlite3.IntegrityError):
        release(lake, 1, 2)
    assert Ledger(lake).get().snapshot == 1
