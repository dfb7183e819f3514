"""How the generator runs: same seed, same bytes; parts; arguments out of range; folders with other files."""

import gzip

import pytest

from lifecycle.errors import UsageError
from lifecycle.synth import generate, write


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_same_seed_same_bytes(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        generate(tmp_path / name, consumers=40, months=6, seed=seed)
    first, again, other = (content(tmp_path / name) for name in "abc")
    assert first == again
    assert all(first[name] != other[name] for name in first)


def test_parts_hold_the_same_lines_as_one_file(tmp_path, monkeypatch):
    whole = generate(tmp_path / "whole", consumers=30, seed=2)
    monkeypatch.setattr(write, "LINES_PER_PART", 300)
    cut = generate(tmp_path / "cut", consumers=30, seed=2)
    assert len(whole.events) == 1
    assert len(cut.events) == -(-cut.lines // 300)
    assert b"".join(map(gzip.decompress, (p.read_bytes() for p in cut.events))) == gzip.decompress(
        whole.events[0].read_bytes()
    )


@pytest.mark.parametrize("wrong", [{"consumers": 9}, {"months": 0}, {"seed": -1}])
def test_arguments_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(UsageError, match="10 consumers, 1 month and a seed of 0"):
        generate(tmp_path, **wrong)


@pytest.mark.parametrize("seed", range(3))
def test_ten_consumers_and_one_month_are_enough(tmp_path, seed):
    made = generate(tmp_path, consumers=10, months=1, seed=seed)
    assert made.consumers == 10
    assert made.lines > 10


def test_a_folder_with_other_events_is_left_alone(tmp_path):
    mine = tmp_path / "events-001.ndjson.gz"
    mine.write_bytes(b"mine")
    with pytest.raises(UsageError, match=r"events-001\.ndjson\.gz, which was not generated here"):
        generate(tmp_path, consumers=10)
    assert mine.read_bytes() == b"mine"


def test_a_smaller_run_leaves_no_parts_of_a_greater_one(tmp_path, monkeypatch):
    monkeypatch.setattr(write, "LINES_PER_PART", 200)
    greater = generate(tmp_path, consumers=30)
    smaller = generate(tmp_path, consumers=10)
    assert len(greater.events) > len(smaller.events)
    assert sorted(tmp_path.glob("events-*")) == list(smaller.events)
