"""Fingerprints derive from all fields that can change a result, and from nothing else."""

from dataclasses import dataclass, field, replace

import pytest

from magicoder.fingerprint import digest, number, software
from magicoder.protocols import NOT_IDENTITY


@dataclass(frozen=True, kw_only=True)
class Component:
    model: str = "m"
    temperature: float = 0.0
    tags: tuple[str, ...] = ()
    options: dict[str, int] = field(default_factory=dict)
    concurrency: int = field(default=8, metadata=NOT_IDENTITY)


@pytest.mark.parametrize("change", [{"model": "n"}, {"temperature": 0.5}, {"tags": ("a",)}, {"options": {"a": 1}}])
def test_every_field_that_can_change_a_result_changes_the_digest(change: dict[str, object]) -> None:
    assert digest(replace(Component(), **change)) != digest(Component())


def test_a_field_that_cannot_change_a_result_does_not() -> None:
    assert digest(Component(concurrency=64)) == digest(Component())


def test_the_order_of_a_mapping_does_not_matter() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_two_classes_with_equal_fields_differ() -> None:
    @dataclass(frozen=True)
    class Other:
        model: str = "m"

    @dataclass(frozen=True)
    class Another:
        model: str = "m"

    assert digest(Other()) != digest(Another())


def test_a_value_without_identity_is_refused() -> None:
    with pytest.raises(TypeError, match="no canonical form"):
        digest(lambda: 1)


def test_numbers_are_stable_and_within_their_bits() -> None:
    assert number("a", 31) == number("a", 31)
    assert all(0 <= number(str(i), 5) < 32 for i in range(200))
    assert len({number(str(i), 5) for i in range(500)}) == 32


def test_what_json_cannot_hold_has_a_fingerprint_too() -> None:
    assert digest("/code/\udcff") != digest("/code/\udcfe")
    assert digest(10**30) != digest(10**31)


def test_the_versions_of_what_decides_results_are_known() -> None:
    found = software()
    assert {"python", "magicoder", "ahocorasick-rs", "tree-sitter", "tree-sitter-python"} <= set(found)
    assert not {"click", "aiohttp", "pyarrow"} & set(found), "these decide no row"
