import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.wording.spans import find_spans, gather


def rows(*texts: str) -> pl.DataFrame:
    return pl.DataFrame({"text": texts}, schema={"text": pl.String}).with_row_index("row")


def test_spans_are_counted_in_characters() -> None:
    found = find_spans(rows("🐕 é 12 and 345", "none", "7"), [("number", r"\d+")])

    assert found.rows() == [(0, "number", 4, 6, "12"), (0, "number", 11, 14, "345"), (2, "number", 0, 1, "7")]


def test_spans_of_several_kinds_are_in_order_of_their_start() -> None:
    found = find_spans(rows("a 1 b"), [("number", r"\d"), ("letter", "[ab]"), ("all", ".+")])

    assert [(kind, start) for _, kind, start, _, _ in found.rows()] == [
        ("all", 0),
        ("letter", 0),
        ("number", 2),
        ("letter", 4),
    ]


def test_characters_in_two_spans_are_covered_once() -> None:
    found = gather(find_spans(rows("abcdef"), [("one", "abcd"), ("two", "cdef"), ("three", "b")]))

    assert found["covered"].to_list() == [6]
    assert found["kind"].to_list() == ["one"]


@settings(deadline=None)
@given(texts=st.lists(st.text(alphabet="ab1 \ufdd0\ufffd\ne\u0301", max_size=12), max_size=4))
def test_each_span_is_where_its_match_is(texts: list[str]) -> None:
    kinds = [("letters", "[ab]+"), ("one", "1a?"), ("mark", "\ufdd0")]

    for row, _, start, end, match in find_spans(rows(*texts), kinds).rows():
        assert texts[row][start:end] == match
