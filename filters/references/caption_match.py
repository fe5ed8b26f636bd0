"""One caption against several of people: objects, counts, attributes and verbs, and what people agree on that it leaves out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from filters.references.object_match import Similarity
from filters.wording import caption_words as words
from filters.wording.noun_phrases import BREAKS, DETERMINERS, NOT_THINGS, word_set
from filters.wording.object_words import NamedObject, Vocabulary, objects_of, singular, vocabulary
from filters.wording.sentences import sentences

UNMENTIONED: Final = 0.3
"""What an object that no reference mentions is worth: it may be there all the same, and is likelier not to be."""
RELATED: Final = 0.7
"""What a word for a kind is worth where references name one of it, and the other way round: "person" and "boy"."""
WEIGHTS: Final = {"object": 1.0, "count": 0.5, "attribute": 0.35, "verb": 0.35}
"""What each sort of thing said weighs in the mean. A convention: objects are what people disagree least about."""
PARTS: Final = {"mean": 0.4, "least": 0.2, "agreed": 0.4}
"""How the score is made: chosen on swapped nouns of captions of people (docs/faithfulness.md)."""
_MANY: Final = 40
_MAX_CHARS: Final = 20_000
_TOKEN: Final = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_NUMBERS: Final = {
    word: number
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
} | {"couple": 2, "pair": 2, "both": 2, "a": 1, "an": 1}
_STOP: Final = (
    BREAKS | DETERMINERS | NOT_THINGS | words.AUXILIARIES | words.PRONOUNS | words.PREPOSITIONS | words.ADVERBS | words.IMAGES
    | words.QUANTIFIERS | words.NUMBERS | words.GROUPS | words.SPEAKERS | words.CONJUNCTIONS | words.RELATIVES | words.SUBORDINATORS
    | word_set("there s t its couple pair top front close up next side some")
)  # fmt: skip
_KINDS: Final = tuple(
    (name, word_set(*lists))
    for name, *lists in (
        ("person", "person people human man men woman women boy girl child kid baby toddler guy lady gentleman someone adult teenager player",
         "individual pedestrian rider skier surfer skateboarder snowboarder batter pitcher officer worker chef couple family crowd group"),
        ("child", "child kid boy girl baby toddler infant youngster"),
        ("animal", "animal dog cat horse cow sheep bird elephant giraffe zebra bear puppy kitten lamb calf duck goose deer lion tiger monkey"),
        ("bird", "bird duck goose gull seagull pigeon parrot owl eagle swan jay sparrow chicken rooster turkey"),
        ("dog", "dog puppy hound terrier poodle labrador collie retriever pup"),
        ("vehicle", "vehicle car truck bus van bike bicycle motorcycle train taxi suv jeep limousine limo automobile scooter trailer tank"),
        ("car", "car automobile sedan taxi cab limousine limo suv jeep convertible van"),
        ("boat", "boat ship yacht sailboat canoe kayak ferry vessel raft"),
        ("airplane", "airplane plane jet aircraft airliner"),
        ("food", "food meal dish pizza sandwich salad cake burger fruit vegetable bread meat dessert soup pasta noodle"),
        ("fruit", "fruit apple orange banana strawberry grape lemon pear berry"),
        ("furniture", "furniture chair table couch sofa bed desk bench cabinet dresser"),
        ("clothing", "clothing clothes outfit shirt dress suit jacket coat uniform pants jeans shorts skirt sweater top"),
        ("building", "building house tower skyscraper church castle barn shop store home"),
        ("plant", "plant tree flower bush shrub grass leaf"),
        ("water", "water ocean sea lake river wave pond surf"),
        ("road", "road street highway lane avenue pavement sidewalk asphalt"),
        ("sofa", "sofa couch loveseat"),
        ("computer", "computer laptop monitor screen desktop pc"),
        ("phone", "phone cellphone smartphone telephone mobile"),
    )
)  # fmt: skip
"""Kinds that captions call by their name or by one of theirs: a short list of this project's own."""


_SYNONYMS: Final = ("child", "airplane", "sofa", "phone", "road", "dog", "boat", "water")
"""Kinds whose words captions use for one another."""


@dataclass(frozen=True, slots=True)
class CaptionMatch:
    """One caption against its references. All shares in [0, 1], null where there is nothing to compare.

    `score`: of the parts below, by PARTS, those that exist. `mean`: how well what it says is borne out, over objects, counts,
    attributes and verbs, by WEIGHTS. `least`: of its objects. `agreed`: of the objects that references name, weighed by how
    many of them do, those that it names. `unmentioned`: objects in no reference. `contradicted`: what references deny.
    """

    score: float | None
    mean: float | None
    least: float | None
    agreed: float | None
    unmentioned: tuple[str, ...] = ()
    contradicted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Said:
    """What one caption says: its objects, the number and the colours beside each head, and stems of its other words."""

    objects: tuple[NamedObject, ...]
    counts: dict[str, int]
    colours: dict[str, frozenset[str]]
    attributes: frozenset[str]
    verbs: frozenset[str]
    stems: frozenset[str]


def matcher(known: Vocabulary, similarity: Similarity | None = None) -> Callable[[str, Sequence[str]], CaptionMatch]:
    """`match_caption` for many captions: what each reference says is kept, of the latest 4,096 texts."""
    read = lru_cache(maxsize=4096)(lambda text: _said(text, known))
    return lambda text, references: _match(text, references, read, similarity)


def match_caption(
    text: str, references: Sequence[str], known: Vocabulary, similarity: Similarity | None = None
) -> CaptionMatch:
    """Compare a caption with references of the same image, by rules for English.

    `similarity`: how alike names of objects are, such as `ByVectors`; None: one word, one kind or one of a kind. Of a caption
    the first 40 objects count.
    """
    return matcher(known, similarity)(text, references)


def contradiction(text: str, other: str) -> tuple[str, ...]:
    """What a caption says of a thing that another caption of the same image denies: its number, its colour; () for nothing."""
    return _against()(text, [other]).contradicted


@lru_cache(maxsize=1)
def _against() -> Callable[[str, Sequence[str]], CaptionMatch]:
    return matcher(vocabulary())


@dataclass(frozen=True, slots=True)
class Facts:
    """The things, numbers and colours that a text names. `stems`: of all its telling words; `things`: stem -> its object."""

    things: dict[str, NamedObject]
    numbers: frozenset[int]
    colours: frozenset[str]
    stems: frozenset[str]

    def unsaid(self, others: Sequence[Facts]) -> list[str]:
        """Those that none of the others name. A thing is named by its word, by a synonym, or by one of its kind: who says "a
        boy" names a person.
        """
        stems = frozenset().union(*(one.stems for one in others))
        there = [thing for one in others for thing in one.things.values()]
        numbers = frozenset().union(*(one.numbers for one in others))
        colours = frozenset().union(*(one.colours for one in others))
        things = [
            thing.head for stem, thing in self.things.items() if stem not in stems and not _is_named(thing, there)
        ]
        return [*things, *(str(number) for number in sorted(self.numbers - numbers)), *sorted(self.colours - colours)]

    def __len__(self) -> int:
        return len(self.things) + len(self.numbers) + len(self.colours)


@lru_cache(maxsize=4096)
def facts_of(text: str) -> Facts:
    """The facts of a text's first 20,000 characters, by rules for English. One is no number: "a dog" and "one dog" say the same."""
    known = vocabulary()
    text = text[:_MAX_CHARS]
    things = [one for part in sentences(text) for one in objects_of(part.text, known)]
    tokens = [token.lower() for token in _TOKEN.findall(text)]
    told = (_NUMBERS.get(token, int(token) if token.isdecimal() and len(token) < 10 else 1) for token in tokens)
    colours = {"gray" if token == "grey" else token for token in tokens if token in words.COLOURS}
    return Facts(
        {_stem(one.head): one for one in things},
        frozenset(number for number in told if number > 1),
        frozenset(colours),
        frozenset(_stem(token) for token in tokens),
    )


def _is_named(one: NamedObject, there: Sequence[NamedObject]) -> bool:
    heads = {other.head for other in there}
    is_kind = one.canonical != "person" or one.head == "person"  # the vocabulary has men and boys as persons
    if is_kind and one.canonical is not None and any(one.canonical == other.canonical for other in there):
        return True
    return any(
        (one.head == name and heads & some) or (name in _SYNONYMS and one.head in some and heads & some)
        for name, some in _KINDS
    )


def _match(
    text: str, references: Sequence[str], read: Callable[[str], _Said], similarity: Similarity | None
) -> CaptionMatch:
    ours = read(text)
    theirs = [read(one) for one in references if one.strip()]
    if not theirs or not (ours.objects or ours.attributes or ours.verbs):
        return CaptionMatch(None, None, None, None)
    there = list({one.name: one for said in theirs for one in said.objects}.values())
    stems = Counter(stem for said in theirs for stem in said.stems)
    objects: dict[str, float] = {}
    contradicted: list[str] = []
    for one in ours.objects[:_MANY]:
        value = _support(one, there, stems, similarity)
        if value > 0 and _denied_sex(one.head, theirs):
            value = 0.0
            contradicted.append(one.name)
        objects[one.name] = min(value, objects.get(one.name, 1.0))
    parts = [("object", value) for value in objects.values()]
    for head, number in ours.counts.items():
        told = [said.counts[head] for said in theirs if head in said.counts]
        if told and number not in told and (number > 1 or min(told) > 1):
            contradicted.append(f"{number} {head}")
            parts.append(("count", 0.0))
        elif number in told:
            parts.append(("count", 1.0))
    for head, colours in ours.colours.items():
        told_colours = set().union(*(said.colours.get(head, frozenset()) for said in theirs))
        if told_colours and not colours & told_colours:
            contradicted.append(f"{' '.join(sorted(colours))} {head}")
            parts.append(("attribute", 0.0))
    for sort, said_words in (("attribute", ours.attributes), ("verb", ours.verbs)):
        parts += [(sort, 1.0 if stem in stems else UNMENTIONED) for stem in said_words]
    total = sum(WEIGHTS[sort] for sort, _ in parts)
    mean = sum(WEIGHTS[sort] * value for sort, value in parts) / total if total else None
    least = min(objects.values(), default=None)
    agreed = _agreed(ours, theirs, similarity)
    found = {"mean": mean, "least": least, "agreed": agreed}
    sure = {name: value for name, value in found.items() if value is not None}
    score = sum(PARTS[name] * value for name, value in sure.items()) / sum(PARTS[name] for name in sure)
    unmentioned = tuple(name for name, value in objects.items() if value <= UNMENTIONED and name not in contradicted)
    return CaptionMatch(round(score, 4), mean, least, agreed, unmentioned, tuple(contradicted))


def _support(
    one: NamedObject, there: Sequence[NamedObject], stems: Counter[str], similarity: Similarity | None
) -> float:
    best = UNMENTIONED
    if _stem(one.head) in stems:
        modifiers = one.name.split()[:-1]
        return 1.0 if all(_stem(word) in stems for word in modifiers) else 0.85
    for other in there:
        best = max(best, _alike(one, other))
    if similarity is not None and there and best < 1.0:
        best = max(best, float(similarity([one], there).max()))
    return best


def _alike(one: NamedObject, other: NamedObject) -> float:
    """1 for one word or name, RELATED for a kind and one of it or two synonyms, UNMENTIONED else."""
    if one.head == other.head or one.name == other.name:
        return 1.0
    for name, some in _KINDS:
        if (one.head == name and other.head in some) or (other.head == name and one.head in some):
            return RELATED
        if name in (*_SYNONYMS, "person") and {one.head, other.head} <= some:
            return RELATED
    return RELATED if one.canonical is not None and one.canonical == other.canonical else UNMENTIONED


def _denied_sex(head: str, theirs: Sequence[_Said]) -> bool:
    """Whether references name people of the other sex alone."""
    for own, other in ((words.MEN, words.WOMEN), (words.WOMEN, words.MEN)):
        if head in own:
            heads = [{one.head for one in said.objects} for said in theirs]
            return sum(bool(some & other) for some in heads) >= 2 and not any(some & own for some in heads)
    return False


def _agreed(ours: _Said, theirs: Sequence[_Said], similarity: Similarity | None) -> float | None:
    """Of what references name, weighed by the square of the share of them that do, what the caption names."""
    named: Counter[str] = Counter()
    one_of: dict[str, NamedObject] = {}
    for said in theirs:
        for one in {other.head: other for other in said.objects}.values():
            named[one.head] += 1
            one_of.setdefault(one.head, one)
    if not named:
        return None
    got = total = 0.0
    for head, count in named.items():
        weight = (count / len(theirs)) ** 2
        value = (
            1.0
            if _stem(head) in ours.stems
            else max((_alike(mine, one_of[head]) for mine in ours.objects), default=0.0)
        )
        if value <= UNMENTIONED:
            value = 0.0
        if similarity is not None and ours.objects and value < RELATED:
            value = max(value, float(similarity([one_of[head]], list(ours.objects)).max()))
        got += weight * value
        total += weight
    return got / total


def _said(text: str, known: Vocabulary) -> _Said:
    objects = tuple(one for part in sentences(text) for one in objects_of(part.text, known))
    heads = {word for one in objects for word in one.name.split()}
    counts: dict[str, int] = {}
    colours: dict[str, frozenset[str]] = {}
    attributes: set[str] = set()
    verbs: set[str] = set()
    tokens = [token.lower() for token in _TOKEN.findall(text)]
    number: int | None = None
    seen: set[str] = set()
    for token in tokens:
        one = singular(token)
        if token in _NUMBERS or (token.isdecimal() and len(token) < 3):
            number, seen = _NUMBERS.get(token, int(token) if token.isdecimal() else 0), set()
        elif one in heads:
            if number is not None and (number > 1) == (one != token or number == 1):
                counts.setdefault(one, number)
            if seen:
                colours[one] = frozenset(seen) | colours.get(one, frozenset())
            number, seen = None, set()
        elif token in words.COLOURS:
            seen.add("gray" if token == "grey" else token)
            attributes.add(_stem(token))
        elif token in _STOP:
            if token not in ("and", "of", "the"):
                number, seen = None, set()
        elif words.is_ing(token) or words.is_ed(token) or token in words.THIRD_PERSONS or token in words.VERB_BASES:
            verbs.add(_stem(token))
            number, seen = None, set()
        elif words.is_adjective(token):
            attributes.add(_stem(token))
    stems = frozenset(_stem(token) for token in tokens if token not in _STOP)
    return _Said(objects, counts, colours, frozenset(attributes), frozenset(verbs), stems)


def _stem(word: str) -> str:
    """A word without the endings of plurals and verbs: "riding", "rides" and "ride" are one."""
    word = singular(word.lower())
    word = "gray" if word == "grey" else word
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) > 2:
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word
