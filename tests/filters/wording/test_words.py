import polars as pl

from filters.wording.words import ngram, word_table


def test_words_keep_their_row_and_order() -> None:
    rows = pl.DataFrame({"row": [4, 5, 6, 7], "text": ["The dog's T-shirt", "", None, "Ça va? 犬だ"]})

    table = word_table(rows)

    assert list(table.iter_rows()) == [
        (4, "the"),
        (4, "dog's"),
        (4, "t-shirt"),
        (7, "ça"),
        (7, "va"),
        (7, "犬"),
        (7, "だ"),
    ]


def test_ngrams_are_equal_exactly_where_their_words_are_and_end_with_their_row() -> None:
    rows = pl.DataFrame({"row": [0, 1], "text": ["a b c a b", "a b b a"]})

    grams = word_table(rows).select(ngram(2)).to_series().to_list()

    ab, bc, ca, ab_again, end, ab_in_next, bb, ba, last = grams
    assert ab == ab_again == ab_in_next
    assert len({ab, bc, ca, bb, ba}) == 5
    assert end is None
    assert last is None
