from __future__ import annotations

from pathlib import Path

import pytest

from lifecycle import config
from lifecycle.errors import UsageError


@pytest.fixture
def project(tmp_path):
    root = tmp_path / "project"
    (root / "deep" / "inside").mkdir(parents=True)
    (root / config.FILE_NAME).write_text(
        '[lake]\nhome = "generated"\nmemory_limit = "2GiB"\n'
        '[dbt]\nproject = "sql"\n'
        "[sources.stripe]\ndelay_seconds = 5\n"
    )
    return root


def test_a_project_is_found_from_any_folder_inside_it(project):
    settings = config.load(project / "deep" / "inside")
    assert settings.root == project
    assert settings.lake.home == project / "generated"
    assert settings.lake.data_path == str(project / "generated" / "data")
    assert settings.lake.spill_path == str(project / "generated" / "spill")
    assert settings.dbt_project == project / "sql"
    assert settings.feature_repo == project / "feature_repo"


def test_the_working_folder_and_the_variable_name_a_project(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project / "deep")
    assert config.load().root == project
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFECYCLE_PROJECT", str(project))
    assert config.load().root == project


def test_no_project_says_where_it_looked(tmp_path):
    with pytest.raises(UsageError, match=f"no lifecycle.toml in {tmp_path}"):
        config.load(tmp_path)


def test_the_environment_overrides_each_setting_of_the_lake(project, monkeypatch, tmp_path):
    given = {
        "LIFECYCLE_HOME": str(tmp_path / "elsewhere"),
        "LIFECYCLE_CATALOG": "postgresql://me@db/lake",
        "LIFECYCLE_DATA": "s3://bucket/lake",
        "LIFECYCLE_THREADS": "3",
        "LIFECYCLE_MEMORY_LIMIT": "5GiB",
        "LIFECYCLE_SPILL": "spilled",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert config.load(project).lake == config.LakeSettings(
        home=tmp_path / "elsewhere",
        catalog="postgresql://me@db/lake",
        data="s3://bucket/lake",
        threads=3,
        memory_limit="5GiB",
        spill=str(project / "spilled"),
    )


def test_an_empty_variable_overrides_nothing(project, monkeypatch):
    monkeypatch.setenv("LIFECYCLE_MEMORY_LIMIT", "")
    assert config.load(project).lake.memory_limit == "2GiB"


def test_a_given_home_is_a_lake_of_its_own(project, monkeypatch, tmp_path):
    monkeypatch.setenv("LIFECYCLE_HOME", "/not/this")
    monkeypatch.setenv("LIFECYCLE_CATALOG", "postgresql://me@db/lake")
    monkeypatch.setenv("LIFECYCLE_DATA", "s3://bucket/lake")
    lake = config.load(project, home=tmp_path / "sandbox").lake
    assert (lake.home, lake.catalog, lake.data) == (tmp_path / "sandbox", "", "")


def test_a_home_below_the_users_own_folder_may_be_written_with_a_tilde(project, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LIFECYCLE_HOME", "~/lakes")
    assert config.load(project).lake.home == tmp_path / "lakes"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[lake]\nhoem = "x"\n', "unknown setting of .lake. 'hoem'. Did you mean 'home'?"),
        ("[laek]\n", "unknown section 'laek'. Did you mean 'lake'?"),
        ('[dbt]\nproejct = "x"\n', "unknown setting of .dbt. 'proejct'. Did you mean 'project'?"),
        ('[feast]\nrepos = "x"\n', "unknown setting of .feast. 'repos'. Did you mean 'repo'?"),
        ('[labels]\nmodul = "x"\n', "unknown setting of .labels. 'modul'. Did you mean 'module'?"),
        ("[lake\n", "is not valid TOML"),
        ('[lake]\nthreads = "many"\n', "threads is 'many'; it must be a whole number"),
        ("[lake]\nthreads = -1\n", "threads is '-1'; it must be a whole number"),
        ("[lake]\nhome = 3\n", "home is 3 in .lake.; it must be text"),
        ("lake = 3\n", "lake is 3; it must be a section"),
        ("[sources]\nstripe = 3\n", "sources.stripe is 3; it must be a section"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, text, message):
    (tmp_path / config.FILE_NAME).write_text(text)
    with pytest.raises(UsageError, match=message):
        config.load(tmp_path)


def test_a_file_that_is_not_utf8_is_refused(tmp_path):
    (tmp_path / config.FILE_NAME).write_bytes(b'[lake]\nhome = "\xff"\n')
    with pytest.raises(UsageError, match="is not valid TOML"):
        config.load(tmp_path)


def test_an_unknown_source_is_guessed(project):
    settings = config.load(project)
    assert settings.source("stripe") == {"delay_seconds": 5}
    with pytest.raises(UsageError, match=r"unknown source 'strip'\. Did you mean 'stripe'\?"):
        settings.source("strip")


@pytest.mark.parametrize(("key", "state"), [(None, "is not set"), ("short", "has 5 characters")])
def test_the_key_must_be_set_and_long_enough(monkeypatch, key, state):
    monkeypatch.delenv(config.KEY_VARIABLE)
    if key:
        monkeypatch.setenv(config.KEY_VARIABLE, key)
    with pytest.raises(UsageError, match=f"LIFECYCLE_KEY {state}"):
        config.secret_key()


def test_the_key_is_the_variables_bytes(monkeypatch):
    monkeypatch.setenv(config.KEY_VARIABLE, "sechzehn Zeichen: ü")
    assert config.secret_key() == "sechzehn Zeichen: ü".encode()


def test_this_repositorys_own_file_is_read():
    settings = config.load(Path(__file__).parent)
    assert {"stripe", "stripe-objects", "online-retail", "events"} <= settings.sources.keys()


def test_the_online_store_lies_in_the_home_unless_it_is_said(project, monkeypatch):
    assert config.load(project).online_place == str(project / "generated" / "online")
    text = (project / config.FILE_NAME).read_text()
    (project / config.FILE_NAME).write_text(text + '[online]\nplace = "served"\n')
    assert config.load(project).online_place == str(project / "served")
    monkeypatch.setenv("LIFECYCLE_ONLINE", "rediss://cache:6379/1")
    assert config.load(project).online_place == "rediss://cache:6379/1"
    assert config.load(project, home=project / "box").online_place == str(project / "box" / "online")
