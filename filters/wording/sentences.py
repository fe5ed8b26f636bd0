"""A caption's sentences, and what a filter found about each of them.

One splitter for everything that cuts captions or judges parts of them: `sentences` and `parts` for one text, `sentence_texts`
for a column of a Polars frame.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from filters.wording import abbreviations

_SPACED: Final = r".!?…‼‽⁇-⁉"
"""Marks that end a sentence before white space only: "3.5 m", "example.org", "Yahoo!News"."""
_UNSPACED: Final = r"。！？．｡؟۔։।॥።፧፨။។៕᠃᠉"
"""Marks that end one whatever follows: those of scripts that are written without spaces, or by a sign used for nothing else
(Unicode's property Sentence_Terminal, UAX 29, of scripts in use)."""
_CLOSING: Final = r"\"”“'’‘»«›)\]}*_」』】〉》〕）］｝〟"
_OPENING: Final = r"\s\"”“'’‘»«›‹„‚(\[{*_#>•·–—\-「『【〈《〔（［｛〝¿¡"

_CANDIDATE: Final = re.compile(rf"([{_SPACED}{_UNSPACED}]+)[{_CLOSING}]*|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")
_DOTS: Final = re.compile(r"\.\.|…")
_NEXT: Final = re.compile(rf"[{_OPENING}]*")
_NEXT_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_TOKEN: Final = re.compile(r"[^\W_]+(?:[.&'’\-][^\W_]+)*\Z")
_WORD_BEFORE: Final = re.compile(r"([^\W_]+)[\s\"“(]+\Z")
_NUMBER_BEFORE: Final = re.compile(r"\d[\s-]?\Z")
_LIST_MARK: Final = re.compile(r"\W*(?:\d{1,3}(?:\.\d{1,2})*|[^\W\d_]|[ivxIVX]{2,5})")
_GOES_ON: Final = re.compile(r"と|って|[をはがにもの、，]")
"""Japanese particles and commas after a quotation: 「犬だ。」と言う is one sentence."""
_UNSPACED_SCRIPT: Final = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
)
_QUOTED: Final = re.compile(
    r"(?<![^\s(\[])\"(?=[^\s\"])[^\"\n]{0,200}(?<=\S)\"(?!\w)|“(?=[^\s“”])[^“”\n]{0,200}(?<=\S)”|「[^「」\n]{0,100}」"
)
_SHORT_QUOTATION: Final = 60
"""Characters up to which a quotation is words in the picture ("NO ENTRY. KEEP OUT."), not text with sentences of its own."""
_WRAPPED: Final = 30
"""Characters from which a line that stops inside a sentence was wrapped there, and is no item of a list."""
_INK: Final = re.compile(r"\S")
_TOKEN_CHARS: Final = 24
_LIST_MARK_CHARS: Final = 16
_LINE_CHARS: Final = 200
_LAST_MARK: Final = re.compile(rf"([{_SPACED}{_UNSPACED}]+)[{_CLOSING}]*\s*\Z")
_HARD: Final = "|".join(
    (
        rf"[\r\v\f\x1c-\x1f\x85\x{{2028}}\x{{2029}}\"“”「…‼‽⁇-⁉{_UNSPACED}]",
        r"[^.!?\s]\s*\n\s*\S",  # a line that ends without a mark, and another
        r"\.\.|[.!?][^\s.!?]|[!?]\s+[^\s\p{Lu}]|\.\s+[^\s\p{L}\p{N}]",
        r"(?:\A|[.!?])[^\p{L}\p{N}.!?]*[.!?]|\A[^\p{L}\p{N}]*\z",  # a part without a letter or digit
        abbreviations.suspected(),
    )
)
"""What makes a text hard to cut: without any of it a sentence ends at every mark, which a pattern finds by the column."""
_END_MARKS: Final = rf"[{_SPACED}{_UNSPACED}]+[{_CLOSING}]*\z"
_ENDS_MARKED: Final = rf"[{_SPACED}{_UNSPACED}][{_CLOSING}]*\s*\z"
_ENDS_SHORT: Final = rf"(?:\A|[^\p{{L}}])[\p{{L}}\p{{N}}]{{1,7}}\.[{_CLOSING}]*\s*\z"


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with its end mark, and where it lies in its text, in characters, the end exclusive."""

    text: str
    start: int
    end: int


def sentences(text: str) -> list[Sentence]:
    """The sentences of a text that hold a letter or digit, in order.

    A sentence ends at a line end, and at a mark of any script with the quotation marks and brackets that close after it. No
    end are: the full stop of an abbreviation ("Dr. Patel", "approx. 3 m", "5 p.m. on", "No. 10", initials) unless a word
    that opens sentences follows it ("in the U.S. The flag"); that of a number or letter that begins a list item ("1. A
    bus."); dots of omission before a small letter; marks in a quotation inside a sentence, and before its end where a small letter follows.
    """
    found = []
    for begin, close in _spans(text):
        said = text[begin:close]
        stripped = said.strip()
        if any(map(str.isalnum, stripped)):
            start = begin + len(said) - len(said.lstrip())
            found.append(Sentence(stripped, start, start + len(stripped)))
    return found


def sentence_texts(texts: pl.Expr, marks: bool = True) -> pl.Expr:
    """The texts of the sentences of every text, as `sentences` gives them: a list, null where the text is null.

    Args:
        marks: with their end marks and the quotation marks and brackets that close after them.
    """

    def split(column: pl.Series) -> pl.Series:
        hard = column.str.contains(_HARD).fill_null(False)
        easy = column.filter(~hard).str.strip_chars().str.replace_all(r"([.!?])\s+", "$1\x1f").str.split("\x1f")
        looked = [[one.text for one in sentences(text)] for text in column.filter(hard)]
        places = pl.concat([(~hard).arg_true(), hard.arg_true()]).arg_sort()
        return pl.concat([easy, pl.Series(easy.name, looked, dtype=easy.dtype)]).gather(places)

    whole = texts.map_batches(split, return_dtype=pl.List(pl.String), is_elementwise=True)
    return whole if marks else whole.list.eval(pl.element().str.replace(_END_MARKS, ""))


def parts(text: str) -> list[tuple[int, int]]:
    """Where a text is cut into sentences, in characters: parts that together are the whole text, white space included."""
    cuts = list(_spans(text))
    found: list[tuple[int, int]] = []
    for begin, end in cuts:
        if found and not any(map(str.isalnum, text[begin:end])):
            found[-1] = found[-1][0], end
        else:
            found.append((begin, end))
    return found


def ends_sentence(text: str) -> bool:
    """Whether a text stops where a sentence does: with an end mark that is not of an abbreviation which something has to
    follow ("Dr.", "approx.", "No.") nor of a list item's number.
    """
    mark = _LAST_MARK.search(text, max(0, len(text) - _TOKEN_CHARS))
    return mark is not None and not (mark.group(1) == "." and _awaits_more(text, mark.start()))


def text_ends_sentence(texts: pl.Expr) -> pl.Expr:
    """`ends_sentence` of every text, null where the text is null."""
    marked = texts.str.contains(_ENDS_MARKED)
    # Few texts end with a word short enough to be an abbreviation: only those are looked at one by one.
    looked = pl.when(texts.str.contains(_ENDS_SHORT)).then(texts)
    short = looked.map_elements(ends_sentence, return_dtype=pl.Boolean, skip_nulls=True)
    return pl.coalesce(short, marked)


def finished(text: str) -> int:
    """Where the last finished sentence of a text that was cut somewhere ends, in characters; 0 where none does.

    At the very end any abbreviation, a number that may go on ("2."), and dots of omission finish none.
    """
    for one in reversed(sentences(text)):
        mark = _LAST_MARK.search(text, max(0, one.end - _TOKEN_CHARS), one.end)
        if mark is None or _DOTS.search(mark.group(1)):
            continue
        at_the_end = _INK.search(text, one.end) is None
        if not at_the_end or mark.group(1) != "." or not _may_go_on(text, mark.start()):
            return one.end
    return 0


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where the text is to be cut: the parts, which together are the whole text."""
    begin = 0
    quoted: list[tuple[int, int]] | None = None
    for match in _CANDIDATE.finditer(text):
        end = match.end()
        if match.group(1) is None:
            if _is_wrapped(text, match, begin):
                continue
        elif not _is_end(text, match, begin):
            continue
        else:
            if quoted is None:
                quoted = _quotations(text)
            place = bisect_left(quoted, match.span()) - 1
            if place >= 0 and end < quoted[place][1] and _INK.search(text, begin, quoted[place][0]):
                continue
        yield begin, end
        begin = end
    if begin < len(text):
        yield begin, len(text)


def _quotations(text: str) -> list[tuple[int, int]]:
    """Quotations that are part of the sentence they stand in, if they do not begin it: the sign reads "Stop. Go." in red."""
    if '"' not in text and "“" not in text and "「" not in text:
        return []
    found = [one.span() for one in _QUOTED.finditer(text)]
    return [
        (start, stop) for start, stop in found if stop - start <= _SHORT_QUOTATION or _is_small(text, _next(text, stop))
    ]


def _is_wrapped(text: str, line_end: re.Match[str], begin: int) -> bool:
    """Whether a sentence that began at `begin` goes on after this line end: a long line, then a small letter."""
    start = line_end.start()
    line = text[text.rfind("\n", max(0, start - _LINE_CHARS), start) + 1 : start][-_LINE_CHARS:].strip()
    return (
        len(line) >= _WRAPPED
        and (line[-1].isalnum() or line[-1] in ",-–—")
        and _is_small(text, line_end.end())
        and _first_letter_is_capital(text, begin)
    )


def _is_end(text: str, match: re.Match[str], begin: int) -> bool:
    """Whether a sentence that began at `begin` ends with this run of marks and what closes after it."""
    end = match.end()
    if end == len(text):
        return True
    marks = match.group(1)
    closed = end > match.start() + len(marks)
    following = text[end]
    if marks[-1] in _UNSPACED:
        if marks[-1] == "．" and following.isdigit():
            return False
        return not (closed and _GOES_ON.match(text, end))
    if not following.isspace():
        if _UNSPACED_SCRIPT.match(following):
            return marks[-1] != "." and not _DOTS.search(marks)
        return _lacks_space(text, match)
    place = _next(text, end)
    if place == len(text):
        return True
    small = text[place].islower()
    if small and closed:
        return False
    if marks != ".":
        # "Yahoo! is", "a bus… and a cat", but in text without capitals "look! a dog".
        return not (small and _first_letter_is_capital(text, begin))
    if match.start() - begin <= _LIST_MARK_CHARS and _LIST_MARK.fullmatch(text, begin, match.start()):
        return False
    return not _abbreviates(text, match.start(), place)


def _lacks_space(text: str, match: re.Match[str]) -> bool:
    """Whether white space was forgotten after a mark: "on the grass.The dog"."""
    before, word = text[max(0, match.start() - 3) : match.start()], _NEXT_WORD.match(text, match.end())
    return bool(
        word
        and before.isalpha()
        and before.islower()
        and word[0].istitle()
        and word[0].lower() in abbreviations.STARTERS
    )


def _next(text: str, end: int) -> int:
    match = _NEXT.match(text, end)
    return match.end() if match else end


def _first_letter_is_capital(text: str, begin: int) -> bool:
    return next((one.isupper() for one in text[begin : begin + _LINE_CHARS] if one.isalpha()), False)


def _is_small(text: str, place: int) -> bool:
    return text[place : place + 1].islower()


def _abbreviates(text: str, stop: int, place: int) -> bool:
    """Whether the full stop at `stop`, after which the next word begins at `place`, belongs to an abbreviation."""
    token = _TOKEN.search(text[max(0, stop - _TOKEN_CHARS) : stop])
    if token is None:
        return False
    written = token.group()
    ahead = text[max(0, stop - len(written) - _TOKEN_CHARS) : stop - len(written)]
    kind = abbreviations.kind(written)
    if kind is None and written in abbreviations.UNITS and _NUMBER_BEFORE.search(ahead):
        kind = abbreviations.Kind.AFTER
    if kind is None:
        return False
    following = _NEXT_WORD.match(text, place)
    word = following.group().lower() if following else ""
    if text[place].isdigit() or text[place] in "#$£€~≈":
        return kind is not abbreviations.Kind.LETTER or written.islower()
    if kind is abbreviations.Kind.NUMBERED:
        return False
    if text[place].islower() or not text[place].isalpha() or kind is abbreviations.Kind.TITLE:
        return True
    if kind is abbreviations.Kind.FINAL:
        return word in abbreviations.AFTER_TIME
    if kind is abbreviations.Kind.STREET:
        return word in abbreviations.AFTER_STREET
    if kind is abbreviations.Kind.LETTER:
        before = _WORD_BEFORE.search(ahead)
        if before and before.group(1).lower() in abbreviations.LETTERED:
            return False
    is_initial = len(word) == 1 and text[place + 1 : place + 2] == "."
    return is_initial or word not in abbreviations.STARTERS


def _awaits_more(text: str, stop: int) -> bool:
    """Whether the full stop at `stop`, with nothing after it, is that of an abbreviation which something has to follow."""
    token = _TOKEN.search(text[max(0, stop - _TOKEN_CHARS) : stop])
    if token is None:
        return False
    begin = text.rfind("\n", max(0, stop - _LIST_MARK_CHARS), stop) + 1
    if stop - begin <= _LIST_MARK_CHARS and _LIST_MARK.fullmatch(text, begin, stop):
        return True
    kind = abbreviations.kind(token.group())
    if kind is abbreviations.Kind.NUMBERED:
        return token.group() not in ("no", "art", "ill", "c", "b", "d")
    return kind in (abbreviations.Kind.TITLE, abbreviations.Kind.BEFORE)


def _may_go_on(text: str, stop: int) -> bool:
    """Whether what was cut after the full stop at `stop` may belong to the same sentence."""
    token = _TOKEN.search(text[max(0, stop - _TOKEN_CHARS) : stop])
    if token is None:
        return False
    written = token.group()
    return (written.isdigit() and len(written) <= 2) or abbreviations.kind(written) is not None


def by_sentence(found: Sequence[Sentence], ends: Sequence[int], values: Sequence[float]) -> list[list[float]]:
    """The values of each sentence's tokens; `ends`: where each token ends in the text. A token is of the sentence it ends in."""
    parts: list[list[float]] = [[] for _ in found]
    place = 0
    for end, value in zip(ends, values, strict=True):
        while place < len(found) and end > found[place].end:
            place += 1
        if place < len(found) and end > found[place].start:
            parts[place].append(value)
    return parts


def judged(found: Sequence[Sentence], scores: Sequence[float | None]) -> list[dict[str, object]]:
    """A value of SENTENCES."""
    return [{"start": one.start, "end": one.end, "score": score} for one, score in zip(found, scores, strict=True)]
