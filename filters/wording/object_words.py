"""The objects that an English caption names, by rule, and one name for each kind of object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from filters.contract.filter import FilterError
from filters.wording.noun_phrases import BREAKS, DETERMINERS, NOT_THINGS, is_verbal, word_set

COCO_OBJECTS: Final = Path(__file__).parents[1] / "models" / "coco_objects.json"
"""The 80 classes of MSCOCO with words that captions use for them: a list of this project's own."""

_TOKEN: Final = re.compile(r"[^\W_]+(?:-[^\W_]+)*(?:['’](?:s|t|re|ve|ll)?)?|[^\s\w]")
_MAX_CHARS: Final = 20_000
_MAX_PHRASE: Final = 12

_VERBS: Final = word_set(
    "reflect peer cover add adorn appear approach ask bark bend bite blow bring browse brush build carry catch chase chat check cheer chew",
    "climb come consist converse cook create cross cut dance decorate depict describe dig discuss display dive drag drink",
    "drive eat emphasize enhance enjoy enter evoke explore extend face feed feel fill float fly follow gather gaze get give",
    "glide go grab graze greet grow hang happen help highlight hit hug hunt include indicate interact jump keep kick kneel",
    "kiss land laugh lay lead lean leap leave lick lift line lounge make meet mix move offer open overlook paddle paint",
    "park perch perform pet play pose pour prepare present provide pull push put reach read receive relax rest ring rise",
    "roam roll row sail say seat seem sell serve share ski skate sleep slide smile smoke snowboard soar speak splash spread",
    "stare stay stop stretch stroll suggest surf surround swim swing take talk taste tend throw tie touch tower travel try",
    "turn use visit wait wake wash watch wave work write",
)
_SURE_VERBS: Final = word_set(
    "include includes become come consist create creates depict describe eat emphasize enjoy give grab include indicate provide reach seem showcase",
    "showcases suggest",
)
"""Verbs that are hardly ever nouns, so that they end a phrase whatever it is."""
_DENYING: Final = word_set("without not like never resembling resembles unlike")
_BEFORE_VERBS: Final = word_set("to it he she they we you i which who")
_VERB: Final = "to"
"""Stands for a determiner where a verb is to come first."""
_PAST: Final = word_set(
    "came fallen sat stood lay ran ate held wore flew rode swam threw caught drove hung seen taken made shown put cut"
)
_ADJECTIVES: Final = word_set(
    "red orange yellow green blue purple pink brown black white grey gray golden gold silver beige tan teal maroon violet",
    "turquoise colorful colourful multicolored multi-colored black-and-white dark light bright pale vivid",
    "big small large little tiny huge giant tall short long wide narrow thick thin deep high low massive enormous medium",
    "medium-sized large-sized small-sized sized full empty open round square rectangular circular flat curved straight",
    "old young new modern ancient antique vintage elderly older younger fresh clean dirty messy neat tidy dry wet hot cold warm",
    "cool beautiful pretty cute adorable lovely nice attractive handsome delicious tasty yummy happy sad playful calm quiet busy",
    "wooden metallic furry fluffy hairy fuzzy shiny sunny cloudy snowy rainy rocky sandy grassy leafy dusty muddy icy foggy",
    "various different other same similar own whole entire main single double several additional certain unique bare alone ready",
    "female male human wild domestic public private urban rural outdoor indoor close far near distant next first second third",
    "last few more most less many much such real fake top-down asleep awake visible plain simple fancy elegant ornate cozy",
    "comfortable soft hard strong heavy traditional typical famous popular professional healthy ripe raw",
    "half upside inside outside together away downtown sporty snow-covered covered sliced cooked fried grilled baked",
    "what's it's there's that's who's great good bad best better favorite favourite nearby vast lush serene peaceful lively",
    "else least eaten broken worn frozen hidden woven closer further farther thinner thicker larger smaller bigger wider taller",
    "picturesque collaborative special clear barefoot casual complete avid upside-down smooth dynamic scenic creative productive corporate lifelike",
    "stainless suitable plump juicy",
    "overall actual possible potential likely due able aware engaged focused seated parked situated positioned topped filled",
)
_DESCRIPTIVE: Final = re.compile(r"(?:ous|less|ful|ible|(?<!t)(?<!c)(?<!st)able)$")
"""Endings of adjectives; tables, vegetables, cables and stables end alike."""
_ASIDE: Final = word_set(
    "throughout either neither already quite begun except perhaps maybe whether alongside even see seen admire unclear written",
    "resembles resembling unlike instead etc",
)
"""Words that end a phrase and are in no list of `noun_phrases`."""
_NUMBERS: Final = word_set("eleven twelve thirteen fifteen twenty thirty fifty hundred dozen dozens")
_MEASURES: Final = word_set(
    "group pair bunch couple lot lots number variety row rows line stack pile set slice slices piece pieces plenty herd flock",
    "pack kind type types sort sorts array assortment collection mixture mix series part parts half dozen dozens total",
    "handful cluster clusters selection range bit bits majority rest all each one ones others another something someone",
    "anyone everyone everybody somebody anything everything nothing nobody none",
)
_ABSTRACT: Final = word_set(
    "activity action adventure air ambiance ambience amount angle appeal appearance area arrangement atmosphere attention",
    "attire back balance beauty bit body brand camera case celebration center challenge character charm chance color colors",
    "colour colours combination comfort competition composition concentration condition contact contrast conversation country",
    "course culture cut daylight day days depth description design detail details direction display distance earth element",
    "elements emphasis end energy enjoyment entertainment environment event evening excitement experience expression face",
    "fact feel feeling flight focus form freedom fun game games height hint home hour idea importance impression information",
    "innocence interest interaction job joy kind landscape layer leisure length level life light lighting lights location look",
    "love lunch dinner breakfast meal match meeting mess middle mid-air midair minute mode moment mood morning motion move",
    "movement name nature night nighttime noon occasion office order outdoors outside overall pace party past pattern peace",
    "performance perspective place placement play point portion pose position potential practice preparation",
    "presence process progress purpose race reason reflection relaxation relationship routine rush safety scenery season",
    "section sense sequence service session setting settings shade shadow shadows shape shot show sight silhouette size",
    "situation skill skills snack source space speed spirit sport sports spot stance state story style",
    "summer sun sunlight sunset sunrise surface surroundings surrounding task taste team technique texture theme thing things",
    "thrill time times touch town tradition transportation travel treat trick tricks trip turn type use uniformity vacation",
    "variety version vibe view visit walk warmth way ways weather weekend width wind winter work world year years youth",
    "zone focus foreground background top bottom left right side sides corner edge front rear middle upper lower image picture",
    "photo photograph photos pictures scene scenes view close-up closeup snapshot screenshot shots today tomorrow tonight",
    "afternoon dusk dawn spring autumn fall daytime addition case example general instance lot must order particular question",
    "gameplay guidance arrival premiere film backdrop company loss effect edition frame mystery vicinity business rest interior",
    "answer caption text word words title break instruction circumstance destination item object multitude experience content",
)
STUFF: Final = word_set(
    "sky cloud grass lawn ground sand snow ice water sea ocean lake river wave waves dirt mud gravel pavement road street",
    "sidewalk path floor wall ceiling field meadow pasture hill mountain forest woods beach shore fog mist smoke rain",
    "room kitchen bathroom bedroom city park yard garden building background runway track court air vegetation foliage",
    "countryside desert savanna savannah wilderness horizon terrain slope hillside sunlight skyline",
)
"""Heads that name matter or places rather than things. A detector that draws boxes around things is blind to them."""

_IRREGULAR: Final = dict(
    pair.split(":")
    for pair in word_set(
        "men:man women:woman children:child people:person feet:foot teeth:tooth geese:goose mice:mouse",
        "knives:knife wolves:wolf leaves:leaf shelves:shelf loaves:loaf halves:half scarves:scarf calves:calf",
        "wives:wife lives:life oxen:ox dice:die buses:bus busses:bus gases:gas glasses:glasses",
        "sunglasses:sunglasses eyeglasses:eyeglasses skis:skis scissors:scissors shoes:shoe toes:toe canoes:canoe",
        "horseshoes:horseshoe snowshoes:snowshoe cookies:cookie brownies:brownie smoothies:smoothie movies:movie",
        "ties:tie pies:pie neckties:necktie bowties:bowtie selfies:selfie veggies:veggie hoodies:hoodie",
        "collies:collie aunties:auntie doggies:doggy kitties:kitty axes:axe pants:pants jeans:jeans shorts:shorts",
        "clothes:clothes binoculars:binoculars goggles:goggles headphones:headphones tongs:tongs pliers:pliers",
        "stairs:stairs tennis:tennis chess:chess bananas:banana cacti:cactus policemen:policeman firemen:fireman",
        "fishermen:fisherman businessmen:businessman snowmen:snowman gentlemen:gentleman grandchildren:grandchild",
        "gas:gas canvas:canvas christmas:christmas atlas:atlas pajamas:pajamas taxis:taxi bikinis:bikini",
        "kiwis:kiwi zucchinis:zucchini paninis:panini menus:menu emus:emu passersby:passerby",
        "policewomen:policewoman lens:lens series:series species:species",
    )
)
_SINGULAR_S: Final = re.compile(r"(?:ss|us|is|'s)$")
_GAMES: Final = word_set("tennis baseball football basketball volleyball softball soccer hockey golf cricket")
"""Without a determiner it is played, and no thing: "playing baseball", "a baseball"."""
_CANNED: Final = word_set("trash garbage rubbish soda beer tin paint spray watering cola coke metal aluminum milk")
_PLURAL_MODIFIERS: Final = word_set(
    "sports clothes news arms glasses sunglasses goods tennis mens womens ladies jeans skis"
)


def singular(word: str) -> str:
    """The singular of an English noun in lower case, by rule: "dishes" is "dish". What is no plural stays as it is."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) < 4 or not word.endswith("s") or _SINGULAR_S.search(word):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "ches", "shes", "xes", "zzes")):
        return word[:-2]
    return word[:-2] if word.endswith("oes") else word[:-1]


def _is_plural(word: str) -> bool:
    found = singular(word)
    return found != word and word not in ("lives", "leaves")


@dataclass(frozen=True, slots=True)
class NamedObject:
    """An object that a text names: `name`, its noun in the singular with the nouns before it ("tennis racket"), the noun
    itself (`head`), and `canonical`, what a vocabulary calls it: null where it does not know it."""

    name: str
    head: str
    canonical: str | None


@dataclass(frozen=True)
class Vocabulary:
    """One name for each kind of object. `words`: every known word, in lower case and the singular, to that name."""

    words: Mapping[str, str]

    @property
    def names(self) -> frozenset[str]:
        """The names themselves."""
        return frozenset(self.words.values())

    def canonical(self, name: str) -> str | None:
        """The name of a label or noun phrase: that of its longest known ending ("wooden dining table", "table")."""
        words = [singular(word) for word in name.lower().replace("_", " ").split()]
        return self._of(words)

    def _of(self, words: Sequence[str]) -> str | None:
        for start in range(max(0, len(words) - 4), len(words)):
            found = self.words.get(" ".join(words[start:]))
            if found is not None:
                return found
        return None

    def also(self, labels: Iterable[str]) -> Vocabulary:
        """With labels that it does not know as names of their own."""
        new = {_normal(label) for label in labels}
        return Vocabulary(
            {**{name: name for name in sorted(new) if self.canonical(name) is None and name}, **self.words}
        )


def _normal(label: str) -> str:
    return " ".join(singular(word) for word in label.lower().replace("_", " ").split())


def vocabulary(path: str | Path | None = None) -> Vocabulary:
    """The vocabulary in a file: JSON, an object of names to lists of words; or lines of words with commas, the first of each
    line the name (the form in which CHAIR's own list is published). None: COCO_OBJECTS.

    Raises FilterError where the file cannot be read, or gives one word two names.
    """
    file = Path(path) if path is not None else COCO_OBJECTS
    try:
        stat = file.stat()
    except OSError as error:
        raise FilterError(
            f"synonyms: {str(file)!r} cannot be read ({error.strerror}); give a file of synonyms."
        ) from error
    return _read(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=8)
def _read(file: Path, newest: int, size: int) -> Vocabulary:
    try:
        text = file.read_text(encoding="utf-8")
        groups = json.loads(text) if text.lstrip().startswith("{") else dict(_groups(text))
    except (OSError, ValueError) as error:
        raise FilterError(f"synonyms: {str(file)!r} cannot be read: {error}.") from error
    words: dict[str, str] = {}
    for name, others in groups.items():
        if not isinstance(others, list) or not all(isinstance(word, str) for word in others):
            raise FilterError(f"synonyms: {str(file)!r}: {name!r} must have a list of words, not {others!r}.")
        label = " ".join(name.lower().replace("_", " ").split())
        for word in (name, *others):
            key = _normal(word)
            if words.setdefault(key, label) != label:
                raise FilterError(
                    f"synonyms: {str(file)!r}: {word!r} is of both {words[key]!r} and {name!r}; leave it in one of them."
                )
    if not words:
        raise FilterError(f"synonyms: {str(file)!r} names no object.")
    return Vocabulary(words)


def _groups(text: str) -> Iterator[tuple[str, list[str]]]:
    for line in text.splitlines():
        words = [word.strip() for word in line.split(",") if word.strip()]
        if words:
            yield words[0], words[1:]


def objects_of(sentence: str, known: Vocabulary) -> list[NamedObject]:
    """The objects that a sentence says are there, in order, each as often as it is named.

    An object is the head of a noun phrase: of "a wooden dining table" the table, of "a train station" the station, of "two
    slices of pizza" the pizza, of "the man's hat" the man and the hat. Left out are what the sentence denies ("no dogs",
    "without a hat") or compares with ("looks like a boat"), measures ("a group"), places in the image, the image itself,
    and a list of abstract nouns. By rules and word lists, for English: no tagger, no model. An unknown verb in the simple
    present is taken for a noun now and then; `docs/faithfulness.md` has the error rate. Linear in the text, of which
    20,000 characters are read.
    """
    found = []
    for words, denied in _phrases(sentence[:_MAX_CHARS].lower()):
        named = None if denied else _named(words, known)
        if named is not None:
            found.append(named)
    return found


def _phrases(text: str) -> Iterator[tuple[list[str], bool]]:
    """Runs of words (the determiner first where there is one), and whether they are denied or compared with."""
    words: list[str] = []
    determiner = ""
    denied = denying = skip = False
    for token in _TOKEN.findall(text.replace("’", "'").replace(" 's ", "'s ")):
        owner = token.removesuffix("'s").removesuffix("'") if token.endswith(("'s", "'")) else None
        if owner and owner not in BREAKS and owner not in DETERMINERS:
            yield [determiner, *words, owner], denied
            determiner, words, skip = "the", [], False
        elif words and ((token == "stand" and not _is_plural(words[-1])) or (token == "can" and words[-1] in _CANNED)):
            words.append(token)  # "a fruit stand", "a trash can"
        elif token in DETERMINERS:
            yield [determiner, *words], denied
            denying = denying or token == "no"
            determiner, words, denied, skip = token, [], denying, False
        elif token in BREAKS or not token[0].isalnum() or token in _PAST or token in _NUMBERS or token in _ASIDE:
            yield [determiner, *words], denied
            if token in _NUMBERS:
                determiner, words, skip = token, [], False
                continue
            denying = token in _DENYING or (denying and token in ("or", "nor"))
            determiner, words, denied, skip = _VERB if token in _BEFORE_VERBS else "", [], denying, False
        elif skip:
            continue
        elif _ends(words, token):
            yield [determiner, *words], denied
            determiner, words, denied = "", [], False
            skip, denying = token in ("called", "named"), False
        elif len(words) < _MAX_PHRASE:
            words.append(token)
    yield [determiner, *words], denied


def _ends(words: list[str], token: str) -> bool:
    """Whether a word is no noun of the phrase that it follows, but its verb or an adverb."""
    if token in _SURE_VERBS:
        return True
    nouns = [word for word in words if word not in _ADJECTIVES]
    if not nouns:  # "a large parked car", "sitting on a bench": nothing that could sit yet
        return False
    if is_verbal(token) and token not in ("icing", "frosting", "topping", "clothing", "overalls"):
        return f"{token} " not in _COMPOUND_FIRST
    last = words[-1]
    if _is_plural(last) and last not in _PLURAL_MODIFIERS:
        return True
    if last in ("person", "child", "man", "woman") and token in _VERBS:
        return True
    if token.endswith("s") and not _SINGULAR_S.search(token):
        return _stem(token) in _VERBS
    return False


_COMPOUND_FIRST: Final = frozenset(
    f"{word} "
    for word in word_set("dining parking cutting rocking shopping swimming washing folding frying wedding baking")
)


def _stem(token: str) -> str:
    """The base form of a verb in the third person."""
    if token.endswith("ies"):
        return token[:-3] + "y"
    if token.endswith(("ches", "shes", "sses", "xes", "zzes", "oes")):
        return token[:-2]
    return token[:-1]


def _named(words: list[str], known: Vocabulary) -> NamedObject | None:
    determiner, *rest = words
    if determiner == _VERB and len(rest) > 1 and not _describes(rest[0]):  # "to board passengers"
        del rest[0]
    elif (
        determiner == _VERB
        and len(rest) == 1
        and (not _is_plural(rest[0]) or _stem(rest[0]) in _VERBS)
        and known._of(rest) is None
    ):  # "to relax"
        return None
    if determiner == "that" and len(rest) == 1 and _is_plural(rest[0]):  # "a road that leads"
        return None
    while rest and not _is_fruit(rest, determiner) and _is_no_head(rest[-1]):  # "pizza slices", "the man at the left"
        rest.pop()
    if not rest or (rest[-1] in _GAMES and determiner in ("", _VERB)):
        return None
    nouns = [word for place, word in enumerate(rest) if place == len(rest) - 1 or not _describes(word)]
    lemmas = [*nouns[:-1], singular(nouns[-1])]
    head = lemmas[-1]
    whole = [singular(word) for word in rest]
    canonical = known._of(whole)
    if canonical is None and (
        _is_abstract(head)
        or nouns[-1] in _ABSTRACT
        or not head.isascii()
        or len(head) < 2
        or _is_verb_form(nouns[-1], rest, determiner)
    ):
        return None
    return NamedObject(" ".join(lemmas[-3:]), head, canonical)


def _is_no_head(word: str) -> bool:
    return (
        word in _ADJECTIVES
        or word in NOT_THINGS
        or word in _MEASURES
        or word.isdigit()
        or _DESCRIPTIVE.search(word) is not None
    )


_ABSTRACT_ENDING: Final = re.compile(r"(?:tion|sion|ness|ment|ity|ance|ence|ism|ship|dom|hood|ude|cy)$")
_CONCRETE: Final = word_set(
    "station television cushion decoration apartment monument instrument ornament equipment pavement garment basement cement",
    "vegetation entrance appliance ambulance fence audience residence plantation intersection mansion city university facility",
    "ship battleship spaceship airship starship prism reflection illustration collection compartment document tournament",
    "medicine fragrance ointment pharmacy bicycle agency microphone inscription fortification concession substance currency",
)


def _is_abstract(head: str) -> bool:
    return head in _ABSTRACT or ends_abstract(head)


def ends_abstract(head: str) -> bool:
    """Whether a noun in the singular has the ending of one that names nothing to point at: "freedom", "movement"."""
    return head not in _CONCRETE and _ABSTRACT_ENDING.search(head) is not None


def _is_fruit(rest: list[str], determiner: str) -> bool:
    return rest[-1] == "orange" and (determiner in ("a", "an") or determiner in _NUMBERS or determiner.isdigit())


def _describes(word: str) -> bool:
    return (
        word in _ADJECTIVES
        or word.isdigit()
        or _DESCRIPTIVE.search(word) is not None
        or (is_verbal(word) and f"{word} " not in _COMPOUND_FIRST)
    )


def _is_verb_form(head: str, rest: list[str], determiner: str) -> bool:
    return is_verbal(head) or (len(rest) == 1 and determiner in ("", _VERB) and head in _VERBS)
