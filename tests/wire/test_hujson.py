"""HuJSON against `json.loads`, against random text, and place by place."""

import json
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire import hujson
from ginnel.wire.hujson import HujsonError
from ginnel.wire.read import WireError

SCALARS = st.none() | st.booleans() | st.integers(-(10**60), 10**60) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    SCALARS | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30
)
BLANKS = st.sampled_from([" ", "\n", "\t", "\r\n", '// to the end, even " and /*\n', "/* over\n * lines **/", ""])
TOKENS = st.sampled_from(["[", "]", "{", "}", ",", ":", '"a"', '"b"', "1", "-0.5e3", "true", "null", "//", "/*", "*/"])


@given(JSON, st.booleans(), st.sampled_from([None, 0, 2]))
def test_reads_json_as_the_standard_library_does(value, ascii_only, indent):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert hujson.plain(hujson.parse(text)) == json.loads(text)


@given(st.text(alphabet='[]{},:"\\/*\n 01-.eE+tfnu\ud800\u00e9\x00') | st.text() | st.lists(TOKENS).map("".join))
def test_any_text_is_a_value_or_a_wire_error(text):
    with suppress(WireError):
        hujson.parse(text)


def loads_json_once_named(text):
    def members(pairs):
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    def finite(digits):
        number = float(digits)
        assert abs(number) != float("inf")  # we refuse what a float cannot hold, and so does Go
        return number

    return json.loads(text, object_pairs_hook=members, parse_float=finite)


@given(st.lists(TOKENS | st.sampled_from([" ", "\n"]), max_size=12).map("".join))
def test_what_json_accepts_is_accepted_and_means_the_same(text):
    try:
        expected = loads_json_once_named(text)
    except (ValueError, AssertionError):
        return
    assert hujson.plain(hujson.parse(text)) == expected


@given(JSON, st.data())
def test_comments_blanks_and_trailing_commas_change_nothing(value, data):
    def blank():
        return data.draw(BLANKS)

    def write(value):
        if isinstance(value, list):
            inside = ",".join(blank() + write(item) + blank() for item in value)
        elif isinstance(value, dict):
            inside = ",".join(f"{blank()}{json.dumps(k)}{blank()}:{blank()}{write(v)}" for k, v in value.items())
        else:
            return json.dumps(value)
        comma = data.draw(st.sampled_from(["", "," + blank()])) if value else blank()
        return f"[{inside}{comma}]" if isinstance(value, list) else f"{{{inside}{comma}}}"

    assert hujson.plain(hujson.parse(blank() + write(value) + blank())) == value


def test_values_and_members_know_their_place():
    value = hujson.parse('// who\n{\n  "a": [1,\n    /* two */ 2],\n\t"b": {}, // end\n}')
    a, b = value.data["a"], value.data["b"]
    assert (value.line, value.column) == (2, 1)
    assert (a.line, a.column, a.value.line, a.value.column) == (3, 3, 3, 8)
    assert [(item.line, item.column) for item in a.value.data] == [(3, 9), (4, 15)]
    assert (b.line, b.column, b.value.column) == (5, 2, 7)


@pytest.mark.parametrize(
    ("text", "line", "column", "says"),
    [
        ("", 1, 1, "expected a value, found the end of the text"),
        ("\n\n  // nothing", 3, 13, "found the end of the text"),
        ('{"a": 1,\n "a": 2}', 2, 2, "'a' is here twice, first in line 1"),
        ("[1 2]", 1, 4, "expected ',' or ']', found '2'"),
        ("[,]", 1, 2, "expected a value, found ','"),
        ("[1,,]", 1, 4, "expected a value, found ','"),
        ("{,}", 1, 2, "expected a member's name in quotes, found ','"),
        ("{a: 1}", 1, 2, "expected JSON, found 'a'"),
        ("{1: 1}", 1, 2, "expected a member's name in quotes, found '1'"),
        ('{"a" 1}', 1, 6, "expected ':' after the name, found '1'"),
        ('{"a": 1} x', 1, 10, "found 'x'"),
        ("{} {}", 1, 4, "expected the end of the text, found '{'"),
        ("['a']", 1, 2, "double quotes"),
        ('["a\n"]', 1, 2, "this string has no end"),
        ('["a\tb"]', 1, 4, "control character"),
        ('["a\\x"]', 1, 4, r"no such escape: '\\x'"),
        ('["\\ud800"]', 1, 2, "surrogate"),
        ("[1] /* open", 1, 5, "this comment has no end"),
        ("[\n01]", 2, 1, "found '01'"),
        ("[1.]", 1, 2, "found '1.'"),
        ("[+1]", 1, 2, "found '+1'"),
        ("[NaN]", 1, 2, "found 'NaN'"),
        ("[True]", 1, 2, "found 'True'"),
        ("[truer]", 1, 2, "found 'truer'"),
        ("[1e999]", 1, 2, "out of range"),
        ("[" + "9" * 65 + "]", 1, 2, "out of range"),
        ("\ufeff{}", 1, 1, "byte order mark"),
        ("[\u00a01]", 1, 2, "found '\\xa0'"),
    ],
)
def test_errors_name_the_place_and_what_stands_there(text, line, column, says):
    with pytest.raises(HujsonError) as caught:
        hujson.parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert says in caught.value.message
    assert "\n" not in str(caught.value)


def test_depth_and_size_have_limits():
    depth = hujson.MAX_DEPTH
    hujson.parse("[" * (depth - 1) + "]" * (depth - 1))
    with pytest.raises(HujsonError, match="nested deeper than 64"):
        hujson.parse("[" * depth + "]" * depth)
    hujson.parse("[1]", max_text=3)
    with pytest.raises(HujsonError, match="at most 3 characters, got 4"):
        hujson.parse("[1] ", max_text=3)


@pytest.mark.parametrize("piece", ["/**/", "// x\n", "[1],", '{"a":"b"},', '"\\n",', "1,", '"\\', "/*", "[", "{", "*"])
def test_time_grows_no_faster_than_the_text(piece):
    def cost(pieces):
        text, best = "[" + piece * pieces, float("inf")
        for _ in range(5):
            began = time.process_time()
            with suppress(WireError):
                hujson.parse(text)
            best = min(best, time.process_time() - began)
        return best

    assert cost(32_000) < 32 * cost(4_000) + 0.01  # 8 if linear, 64 if quadratic
