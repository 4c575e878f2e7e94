"""Bodies become JSON objects, or are refused in one sentence; nothing else leaves the reader."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sirocco.errors import InvalidInput, MissingBody
from sirocco.wire.body import json_type, parse_object, without_nulls

BOM = b"\xef\xbb\xbf"


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}"


@pytest.mark.parametrize(
    ("body", "members"),
    [
        (b"{}", {}),
        (b' \r\n\t{"prompt": "a"}\n', {"prompt": "a"}),
        (b'{"n": 5, "x": 5.0, "e": 1e3}', {"n": 5, "x": 5.0, "e": 1000.0}),
        ('{"prompt": "größer 🌬"}'.encode(), {"prompt": "größer 🌬"}),
        (b'{"prompt": "gr\\u00f6\\u00dfer"}', {"prompt": "größer"}),
        (BOM + b'{"prompt": "a"}', {"prompt": "a"}),
        (b'{"prompt": "a", "prompt": "b"}', {"prompt": "b"}),
        (b'{"prompt": "\\ud83c\\udf2c"}', {"prompt": "🌬"}),
        (nested(100), {"a": json.loads(b"[" * 100 + b"]" * 100)}),
    ],
    ids=[
        "empty",
        "spaces",
        "numbers",
        "utf8",
        "escapes",
        "bom",
        "duplicate",
        "surrogate",
        "nested",
    ],
)
def test_an_object_is_read(body, members):
    assert parse_object(body) == members


@pytest.mark.parametrize("body", [b"", b" ", b"\r\n\t "])
def test_a_body_of_nothing_is_missing(body):
    with pytest.raises(MissingBody, match=r"^body$"):
        parse_object(body)


@pytest.mark.parametrize(
    ("body", "type_name"),
    [
        (b"[]", "array"),
        (b'"x"', "string"),
        (b"true", "boolean"),
        (b"5", "integer"),
        (b"5.0", "number"),
        (b"null", "null"),
    ],
)
def test_what_is_not_an_object_is_refused_by_its_type(body, type_name):
    with pytest.raises(InvalidInput) as raised:
        parse_object(body)
    assert str(raised.value) == f"Type mismatch of '/', '{type_name}' not in 'object'"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"{'a': 1}", "Expecting property name"),
        (b'{"a": 1,}', ""),
        (b'{"a": 1} {"a": 2}', "Extra data"),
        (b'{"a": "\n"}', "Invalid control character"),
        (b'{"a": "\xff"}', "can't decode byte 0xff"),
        (BOM, "Expecting value"),
        (b"\xff\xfe", "can't decode byte 0xff"),
        (b"\x00", "Expecting value"),
        (b"prompt=a&stream=true", "Expecting value"),
        (b"\x1f\x8b\x08\x00", ""),
    ],
)
def test_what_is_not_json_is_refused_with_its_reason(body, reason):
    with pytest.raises(InvalidInput, match=r"^the body is not valid JSON: ") as raised:
        parse_object(body)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"a": [{"b": "x\\ud83d"}]}', r"a string holds '\ud83d', which is half of a character"),
        (b'{"\\uDC00": 1}', r"a string holds '\udc00', which is half of a character"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": Infinity}', "Infinity is not JSON"),
        (b'{"a": [{"b": -Infinity}]}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "the number 1e999 is out of range"),
        (b'{"a": -1e999}', "the number -1e999 is out of range"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number has 5000 characters, and may have 100"),
        (b'{"a": ' + b"9" * 1000 + b".5}", "a number has 1002 characters, and may have 100"),
        (b'{"a":' + b"[" * 200_000, "it has more than 20000 values"),
        (b'{"a":' * 200_000, "it has more than 20000 values"),
        (nested(200_000), "it has more than 20000 values"),
        (nested(15_000), "it is nested more than 128 levels deep"),
        (nested(129), "it is nested more than 128 levels deep"),
        (b'{"a":[' + b"[]," * 20_000 + b"0]}", "it has more than 20000 values"),
        (b'{"a":[' + b'",[{",' * 20_000 + b"0]}", "it has more than 20000 values"),
        (b'{"a":[' + b'"\\",\\\\",' * 20_000 + b"0]}", "it has more than 20000 values"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else "",
)
def test_what_is_too_much_is_refused_by_its_name_and_limit(body, reason):
    with pytest.raises(InvalidInput) as raised:
        parse_object(body)
    assert str(raised.value) == f"the body is not read: {reason}"


@pytest.mark.parametrize("text", [",[{" * 50_000, '\\",' * 50_000, "\\" * 50_001 + ","])
def test_what_stands_in_a_string_is_not_counted(text):
    members = {"prompt": text, "more": [text, {"b": text}]}

    assert parse_object(json.dumps(members).encode()) == members


def test_a_limit_may_be_another():
    body = json.dumps({"a": list(range(30_000))}).encode()

    assert len(parse_object(body, 30_001)["a"]) == 30_000
    with pytest.raises(InvalidInput, match="more than 30000 values"):
        parse_object(body, 30_000)


def test_members_that_are_null_are_left_out():
    members = parse_object(b'{"prompt": "a", "stop": null, "seed": null, "raw": false, "n": 0}')

    assert members == {"prompt": "a", "raw": False, "n": 0}


def test_leaving_out_nulls_keeps_the_order_and_the_original():
    members = {"b": 1, "none": None, "a": [None]}

    kept = without_nulls(members)

    assert list(kept.items()) == [("b", 1), ("a", [None])]
    assert "none" in members


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{}", "object"),
        ("[]", "array"),
        ('""', "string"),
        ("false", "boolean"),
        ("1", "integer"),
        ("1.0", "number"),
        ("null", "null"),
    ],
)
def test_a_value_is_named_by_its_json_type(text, name):
    assert json_type(json.loads(text)) == name


@given(st.binary(max_size=64) | st.text(st.characters(), max_size=64).map(ascii).map(str.encode))
def test_no_bytes_raise_anything_but_an_input_error(body):
    try:
        members = parse_object(body)
    except (InvalidInput, MissingBody):
        return
    assert isinstance(members, dict)


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.booleans() | st.integers(-(10**90), 10**90) | st.text(max_size=8)
            | st.floats(allow_nan=False, allow_infinity=False),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=8,
        ),
        max_size=4,
    )
)  # fmt: skip
def test_whatever_python_writes_is_read_back(members):
    assert parse_object(json.dumps(members).encode()) == members
