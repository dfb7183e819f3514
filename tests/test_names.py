from __future__ import annotations

from dataclasses import replace

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lifecycle.errors import UsageError
from lifecycle.lake import Lake
from lifecycle.names import literal, quote, quote_all, relation
from tests.lake_content import read, write

TEXT = st.text(st.characters(codec="utf-8"))
CONNECTION = duckdb.connect(":memory:")


@given(TEXT.filter(lambda text: text and "\x00" not in text))
def test_a_quoted_name_comes_back_from_duckdb(name):
    CONNECTION.execute(f"SELECT 1 AS {quote(name)}")
    assert CONNECTION.description[0][0] == name


@given(TEXT.filter(lambda text: "\x00" not in text))
def test_a_quoted_literal_comes_back_from_duckdb(value):
    assert CONNECTION.execute(f"SELECT {literal(value)}").fetchone() == (value,)


@pytest.mark.parametrize("name", ["", "a\x00b"])
def test_what_cannot_be_a_name_is_refused(name):
    with pytest.raises(UsageError, match="cannot name a column or table"):
        quote(name)


def test_a_literal_with_a_nul_is_refused():
    with pytest.raises(UsageError, match="NUL"):
        literal("a\x00b")


def test_a_list_of_names_takes_a_prefix():
    assert quote_all(["a", 'b"c'], "spine") == 'spine."a", spine."b""c"'
    assert quote_all(iter(["a", "b"])) == '"a", "b"'


def test_a_relation_is_quoted_in_its_database():
    assert relation("features.consumer") == '"lake"."features"."consumer"'
    assert relation("main.t", "target") == '"target"."main"."t"'


@pytest.mark.parametrize(
    "name", ["consumer", "a.b.c", "features.", "features.x y", 'features."x"', "f.x;drop", "", "f.x\n"]
)
def test_what_is_no_relation_is_refused(name):
    with pytest.raises(UsageError, match=r"write it as schema\.table"):
        relation(name)


def test_a_lake_in_a_folder_with_a_quote_in_its_name_can_be_attached(tmp_path, settings):
    lake = Lake(replace(settings.lake, home=tmp_path / "it's a home"))
    write(lake, "CREATE TABLE lake.main.t AS SELECT 1 AS one")
    assert read(lake, "SELECT one FROM lake.main.t") == [(1,)]
