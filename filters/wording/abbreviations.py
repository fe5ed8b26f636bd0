"""Which words are abbreviations, whose full stop need not end a sentence, and which words open sentences."""

from __future__ import annotations

import re
from enum import Enum, auto
from functools import lru_cache
from itertools import product
from string import ascii_lowercase
from typing import Final


class Kind(Enum):
    """What an abbreviation's full stop may be."""

    TITLE = auto()
    """Something always follows: "Mr. Patel", "e.g. dogs", "vs. them"."""
    BEFORE = auto()
    """As a rule something follows, but it may end a sentence: "St. Anne", "Main St. The", "approx. 3 m"."""
    AFTER = auto()
    """It may end a sentence, but a name may follow: "the U.S. Army", "Smith Jr. High"."""
    FINAL = auto()
    """It ends one wherever a capital follows: "at 5 p.m. A dog", "cats, dogs, etc. They"."""
    STREET = auto()
    """As FINAL, but a quarter of the sky or a place may follow: "5th Ave. NW"."""
    NUMBERED = auto()
    """One only before a number: "No. 10"."""
    LETTER = auto()
    """A letter alone, often an initial: "J. K. Rowling"."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TITLE: Final = _words(
    "mr mrs ms mx messrs mme mlle prof assoc asst vs e.g i.e eg ie viz cf rev revd capt cmdr lt sgt cpl pvt msgr supt esp incl"
    " z.b d.h p.ex bzw inkl evtl ggf vgl srta डॉ प्रो"
)
_TITLE_IF_CAPITAL: Final = _words(
    "gen col maj sen rep gov hon pres adm det insp fr sr sra dra don sig dott ing mag drs ste atty"
)
_BEFORE: Final = _words(
    "dr st sts mt mts ft approx aprox circa env excl misc max min avg temp dia diam orig illus eds trans est dept univ bldg"
    " intl natl"
)
_BEFORE_IF_CAPITAL: Final = _words("pt rt rte ed n s e w")
_AFTER: Final = _words(
    "jr snr esq inc ltd corp llc bros mfg assn ph.d phd m.d b.a m.a usw str qtr oz lb yd km cm kg hr"
)
_AFTER_IF_CAPITAL: Final = _words(
    "co pl ct sq ala ariz ark calif colo conn del fla ga ida ill ind kan ky la mass md mich minn miss mo mont neb nev okla"
    " ont ore pa penn que tenn tex va vt wash wis wyo"
)
_FINAL: Final = _words(
    "a.m p.m am pm etc u.a ecc lbs yds hrs ii iii iv vi vii viii ix xi xii xiii xiv xv xvi xvii xviii"
)
_FINAL_IF_CAPITAL: Final = _words(
    "jan feb mar apr jun jul aug sept sep oct nov dec mon tue tues wed thu thur thurs fri sat sun"
)
_STREET: Final = _words("rd ave blvd pkwy hwy")
_STREET_IF_CAPITAL: Final = _words("av ln")
_NUMBERED: Final = _words(
    "no nos nr núm fig figs vol vols p pp pg ch sec ver rm ph c b d tel ext apt ste ca art ill pl jan feb mar apr jun jul aug"
    " sept sep oct nov dec"
)
UNITS: Final = _words("in ft mi gal min sec hr pt qt doz yr yrs mo sq m mm cm g l")
"""Abbreviations only after a number: "6 in. wide"."""
_ACRONYM: Final = re.compile(r"[^\W\d_]{1,2}(?:\.[^\W\d_]{1,2})+")
_NO_VOWEL: Final = re.compile(r"[b-df-hj-np-tv-xz]{2,5}")
_NO_ABBREVIATION: Final = _words(
    "tv tvs cd cds dvd dvds pc pcs hmm mm shh pst psst brr grr st nd rd th hd ps nth wc www ufc nfl nba bmw rv rvs suv suvs vw"
)
"""Words without a vowel that are none."""

LETTERED: Final = _words(
    "letter letters vitamin vitamins plan type grade group class section gate figure platform terminal model size initial"
    " row block category line option version wing zone"
)
"""Words before a letter that is no initial: "the letter A."."""

AFTER_TIME: Final = _words(
    "monday tuesday wednesday thursday friday saturday sunday mon tue tues wed thu thurs fri sat sun january february march april"
    " may june july august september october november december est edt cst cdt mst mdt pst pdt gmt utc bst cet"
)
"""What follows a time of day in one sentence: "at 5 p.m. EST"."""

AFTER_STREET: Final = _words(
    "n s e w ne nw se sw north south east west bridge station park school church market mall theater theatre"
)
"""What follows a street's name in one sentence: "Penn Ave. Bridge"."""

STARTERS: Final = _words(
    # English determiners, pronouns, prepositions, conjunctions, adverbs, numbers, and nouns that captions open sentences with.
    "a an the this that these those there here it its it's he she they we you his her their our my your i i'm in on at to from by for with"
    " without within under over above below behind beside besides between beneath across along around near nearby next"
    " inside outside into through throughout against among amid atop toward towards beyond after before during while when where as if"
    " because since although though however but so yet then also another other others both each every all many most much"
    " some several few more one two three four five six seven eight nine ten none neither either any what who how why which is are"
    " was were does do did can could will would should has have despite overall additionally furthermore moreover meanwhile finally"
    " instead only even just perhaps maybe possibly judging based surrounding adjacent directly further farther closer someone"
    " somebody something everyone everything nothing nobody people cars trees buildings photo image picture visible standing sitting"
    " looking walking wearing today now once again such"
    # German, French, Spanish, Italian, Portuguese, Russian.
    " der die das ein eine es er sie im auf dahinter rechts links davor le la les un une il elle ils elles dans sur derrière el los"
    " las una en lo gli uno nel sul al os as um uma no na não на в это он она они за у слева справа"
)
"""Words that open a sentence far more often than they begin a name."""


@lru_cache(maxsize=4096)
def kind(word: str) -> Kind | None:
    """What the full stop after this word, given as it was written and without that full stop, may be; None: just a full stop."""
    low, capital = word.lower(), word[:1].isupper()
    if len(word) == 1 and word.isalpha():
        return Kind.NUMBERED if low in _NUMBERED and not capital else Kind.LETTER
    for found, always, if_capital in _KINDS:
        if low in always or (capital and low in if_capital):
            return found
    if _ACRONYM.fullmatch(word):
        return Kind.AFTER
    if not word.isupper() and _NO_VOWEL.fullmatch(low) and low not in _NO_ABBREVIATION:
        return Kind.AFTER
    return None


_KINDS: Final = (
    (Kind.TITLE, _TITLE, _TITLE_IF_CAPITAL),
    (Kind.FINAL, _FINAL, _FINAL_IF_CAPITAL),
    (Kind.STREET, _STREET, _STREET_IF_CAPITAL),
    (Kind.BEFORE, _BEFORE, _BEFORE_IF_CAPITAL),
    (Kind.AFTER, _AFTER, _AFTER_IF_CAPITAL),
    (Kind.NUMBERED, _NUMBERED, _NUMBERED),
)


def suspected() -> str:
    """A pattern (of Rust's regex) that is in every text with a full stop before white space which may be an abbreviation's:
    after a word that `kind` knows, a unit, a letter, letters without a vowel, a Roman number, or a digit.
    """
    known = UNITS.union(*(words for _, *both in _KINDS for words in both))
    long = sorted({re.escape(word) for word in known if len(word) > 2 and "." not in word})
    pairs = sorted(pair for pair in map("".join, product(ascii_lowercase, repeat=2)) if _may_abbreviate(pair))
    short = rf"\p{{L}}|\p{{L}}[\p{{L}}--[a-zA-Z]]|[\p{{L}}--[a-zA-Z]]\p{{L}}|{'|'.join(pairs)}"
    return rf"(?i)(?:\A|[^\p{{L}}\p{{N}}])(?:{short}|{'|'.join(long)}|[b-df-hj-np-tv-xz]{{3,5}}|[ivx]{{2,5}})\.\s|\p{{N}}\.\s"


def _may_abbreviate(word: str) -> bool:
    return word in UNITS or any(kind(written) is not None for written in (word, word.title(), word.upper()))
