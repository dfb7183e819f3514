from __future__ import annotations

import pytest

from lifecycle import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError, 2),
        (errors.UnsupportedError, 2),
        (errors.DataError, 3),
        (errors.IntakeError, 3),
        (errors.GateError, 3),
        (errors.SpineError, 3),
        (errors.PlatformError, 4),
        (errors.LockedError, 4),
        (errors.BuildError, 4),
    ],
)
def test_exit_codes_tell_usage_data_and_platform_apart(error, code):
    assert issubclass(error, errors.LifecycleError)
    assert error.exit_code == code


def test_the_tree_in_the_docstring_names_every_error():
    classes = [one for one in vars(errors).values() if isinstance(one, type) and one.__module__ == errors.__name__]
    assert len(classes) == 10
    for one in classes:
        assert one.__name__ in errors.__doc__


def test_unknown_guesses_and_lists_what_was_possible():
    error = errors.unknown("service", "fraud_v2", ["lifecycle_v1", "fraud_v1"])
    assert str(error) == "unknown service 'fraud_v2'. Did you mean 'fraud_v1'? There are: fraud_v1, lifecycle_v1."


def test_unknown_does_not_guess_where_nothing_is_close():
    assert str(errors.unknown("label", "x", ["churn"])) == "unknown label 'x'. There are: churn."
    assert str(errors.unknown("label", "x", [])) == "unknown label 'x'. There are: none."
