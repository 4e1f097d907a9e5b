"""Reading JSON: what is refused, in one pass, whatever the size."""

import json

import pytest

from jobd.errors import BadRequest
from jobd.web import json_body


def with_a_name_twice(count: int) -> bytes:
    """An object of `count` different names and one of them again, at its end."""
    return b"{" + b",".join(b'"%x":1' % number for number in range(count)) + b',"%x":1}' % (count - 1)


class CountingText(str):
    """A name that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        CountingText.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


def test_a_name_that_stands_twice_is_found_in_one_pass() -> None:
    names = [CountingText(f"{number:x}") for number in range(2000)]
    with pytest.raises(BadRequest, match="'7cf' twice"):
        json_body._object([(name, 1) for name in [*names, CountingText("7cf")]])
    assert CountingText.compared < 10 * len(names)


@pytest.mark.parametrize("count", [1, 20_000])
def test_a_name_that_stands_twice_is_named(count: int) -> None:
    with pytest.raises(BadRequest, match=f"the name '{count - 1:x}' twice"):
        json_body.parse(with_a_name_twice(count))


def test_a_long_name_is_repeated_in_part() -> None:
    long = b'"' + b"x" * 5000 + b'":1'
    with pytest.raises(BadRequest) as refused:
        json_body.parse(b"{" + long + b"," + long + b"}")
    assert len(refused.value.message) < 200


def test_half_a_surrogate_pair_is_found_at_the_end_of_a_long_text() -> None:
    assert json_body.storage_fault("x" * 100_000 + "\udfff") == "must not contain half a surrogate pair"
    assert json_body.storage_fault("x" * 100_000 + "\U0001f600") is None


@pytest.mark.parametrize("value", ["[],", "{},", "1,", '"",', "[[]],"])
def test_a_body_of_too_many_values_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="at most 50000 values, lists and objects in all"):
        json_body.parse(f'{{"a": [{value * json_body.MAX_VALUES}1]}}'.encode())
    assert json_body.parse(f'{{"a": [{value * 1000}1]}}'.encode())


def test_marks_in_a_text_are_no_values() -> None:
    table = 'a,"b",[c],{d}\\' * 20_000
    assert json_body.parse(json.dumps({"a": table, "b": [1, 2]}).encode()) == {"a": table, "b": [1, 2]}
    with pytest.raises(BadRequest, match="not JSON"):
        json_body.parse(b'{"a": "' + b"," * 100_000)
