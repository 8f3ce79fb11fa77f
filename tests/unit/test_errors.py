"""The tree of errors, as its module draws it and as its classes are."""

import inspect
import re

import pytest

from schemas import Reason
from worker import errors


def _classes() -> dict[str, type]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__
    }


def _drawn() -> dict[str, str | None]:
    """Return each error that the docstring draws, with the one above it."""
    parents: dict[str, str | None] = {}
    above: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        name = re.match(r"^[\s│├└─]*(?P<name>[A-Z]\w*Error)\b", line)
        if name is None:
            continue
        indent = name.start("name")
        above = [(other, parent) for other, parent in above if other < indent]
        parents[name["name"]] = above[-1][1] if above else None
        above.append((indent, name["name"]))
    return parents


def test_error_tree_is_the_one_drawn():
    """The module's docstring draws every class under its parent, and no class that is not there."""
    actual = {
        name: cls.__base__.__name__ if cls.__base__ is not Exception else None for name, cls in _classes().items()
    }
    assert _drawn() == actual


def test_error_tree_has_one_root_with_a_branch_for_each_fate():
    """Every error is a WorkerError, in exactly one of the four branches."""
    branches = {errors.SettingsError, errors.RecordRejectedError, errors.UnavailableError, errors.InvariantError}
    assert set(errors.WorkerError.__subclasses__()) == branches
    for cls in _classes().values():
        assert cls is errors.WorkerError or sum(issubclass(cls, branch) for branch in branches) == 1


@pytest.mark.parametrize("cls", _classes().values(), ids=lambda cls: cls.__name__)
def test_error_says_what_it_means_in_one_sentence(cls):
    """Each class has a docstring of its own."""
    assert cls.__doc__
    assert cls.__doc__.endswith(".")


def test_record_rejected_error_carries_its_reason():
    """Reason and detail are fields; the text is the detail."""
    error = errors.RecordRejectedError(Reason.EMPTY, "the value is null")
    assert (error.reason, error.detail, str(error)) == (Reason.EMPTY, "the value is null", "the value is null")
