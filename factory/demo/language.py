"""The demo world's language: captions of a scene in two styles, statements true and false, prompts and questions."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from factory.demo.claims import Claim, CountClaim, ErrorType, ThingClaim, WordClaim, differences
from factory.demo.scenes import COLOURS, PLACES, ROWS, SHAPES, SIZES, WORDS, Scene

NUMBERS = ("zero", "one", "two", "three", "four", "five")

DETAILED_PROMPTS = (
    "Describe the image in detail.",
    "Describe the image in details.",
    "Elaborate on the visual and narrative elements of the image in detail.",
    "Instead of describing the imaginary content, only describing the content one can determine confidently from the "
    "image. Do not describe the contents by itemizing them in list form. Minimize aesthetic descriptions as much as "
    "possible.",
)
SHORT_PROMPTS = ("Describe the image briefly.", "Write a short caption.")
CONTEXT_PROMPTS = ('The web page says: "{text}". {prompt}', 'The original caption is "{text}". {prompt}')
QUESTIONS = (
    'Does this image show "{statement}"? Please answer yes or no.',
    'Does this figure show "{statement}"? Please answer yes or no.',
    'Is this true of the image: "{statement}" Please answer yes or no.',
    "Is this true: {statement} Answer yes or no.",
)

_IN_PLACE = {place: f"at the {place}" for place in PLACES} | {
    "left": "on the left",
    "right": "on the right",
    "center": "in the center",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence about a scene, whether it is true of it, and, if not, the one error type it was given."""

    text: str
    true: bool
    error: ErrorType | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is asked about an image and the right answer."""

    question: str
    answer: str


def scene_claims(scene: Scene) -> list[Claim]:
    """Everything a detailed caption of the scene says: the count, each thing in reading order, the printed word."""
    claims: list[Claim] = [CountClaim(len(scene.things))]
    claims += [ThingClaim(thing.shape, thing.colour, thing.size, thing.place) for thing in scene.things]
    if scene.word is not None:
        claims.append(WordClaim(scene.word.word, scene.word.place))
    return claims


def sentence(claim: Claim, wording: int = 0) -> str:
    """One sentence, with its full stop, that says the claim; ``wording`` (0, 1 or 2) picks the paraphrase."""
    match claim:
        case CountClaim(count):
            noun = "shape" if count == 1 else "shapes"
            verb = "is" if count == 1 else "are"
            number = NUMBERS[count]
            text = (
                f"there {verb} {number} {noun}",
                f"the image shows {number} {noun}",
                f"{number} {noun} {verb} visible",
            )[wording]
        case ThingClaim(place=None):
            text = ("there is {}", "the image shows {}", "there is {}")[wording].format(noun_phrase(claim))
        case ThingClaim(place=str(place)):
            thing, where = noun_phrase(claim), _IN_PLACE[place]
            text = (f"{thing} is {where}", f"there is {thing} {where}", f"{where} there is {thing}")[wording]
        case WordClaim(word, None):
            text = f'the word "{word}" is printed'
        case WordClaim(word, str(place)):
            printed, where = f'the word "{word}"', _IN_PLACE[place]
            text = (f"{printed} is printed {where}", f"{printed} is printed {where}", f"{where} there is {printed}")[
                wording
            ]
    return text[0].upper() + text[1:] + "."


def noun_phrase(claim: ThingClaim) -> str:
    """The thing without its place, as in "a small red circle" or, with fields left open, "an orange shape"."""
    words = [word for word in (claim.size, claim.colour, claim.shape or "shape") if word is not None]
    article = "an" if words[0][0] in "aeiou" else "a"
    return " ".join((article, *words))


def detailed_caption(scene: Scene, rng: random.Random) -> str:
    """The true detailed caption: one sentence for each fact, all in one wording (the plainest most often)."""
    wording = rng.choices((0, 1, 2), (0.6, 0.2, 0.2))[0]
    return " ".join(sentence(claim, wording) for claim in scene_claims(scene))


def short_caption(scene: Scene, rng: random.Random) -> str:
    """The true short caption: one sentence that lists the things and the printed word, without places."""
    return list_sentence([_without_place(claim) for claim in scene_claims(scene)], rng)


def list_sentence(claims: Sequence[Claim], rng: random.Random) -> str:
    """One sentence that lists things and printed words ("A red circle and a blue square."); counts are left out."""
    listed = [claim for claim in claims if not isinstance(claim, CountClaim)]
    items = [f'the word "{c.word}"' if isinstance(c, WordClaim) else noun_phrase(c) for c in listed]
    together = items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
    text = rng.choices(("{}", "an image of {}"), (0.8, 0.2))[0].format(together)
    return text[0].upper() + text[1:] + "."


def _without_place(claim: Claim) -> Claim:
    return claim if isinstance(claim, CountClaim) else replace(claim, place=None)


def falsified(claims: Sequence[Claim], scene: Scene, rng: random.Random) -> tuple[list[Claim], ErrorType] | None:
    """The claims with exactly one attribute of one claim changed, so that the truth differs by that error type and
    nothing else; and the type. None where no such change was found. The claims must be true of the scene.
    """
    for _ in range(8):
        position = rng.randrange(len(claims))
        kind = rng.choice(_attributes(claims[position]))
        changed = [*claims]
        changed[position] = _with_error(claims[position], kind, scene, rng)
        if differences(changed, scene) == (kind,):
            return changed, kind
    return None


def _attributes(claim: Claim) -> list[ErrorType]:
    match claim:
        case CountClaim():
            return ["count"]
        case WordClaim():
            return ["text", "place"] if claim.place is not None else ["text"]
        case ThingClaim():
            named = {"shape": claim.shape, "colour": claim.colour, "size": claim.size, "place": claim.place}
            return [kind for kind, value in named.items() if value is not None]  # type: ignore[misc]


# Look-alikes, wrong more often than the rest: what a small model confuses is what its judge must tell apart.
_NEAR: dict[str, tuple[str, ...]] = {
    "circle": ("square", "star"),
    "square": ("circle", "cross"),
    "triangle": ("star", "square"),
    "star": ("cross", "triangle"),
    "cross": ("star", "square"),
    "red": ("orange", "brown", "pink"),
    "orange": ("red", "yellow", "brown"),
    "yellow": ("orange",),
    "green": ("blue", "brown"),
    "blue": ("purple", "green"),
    "purple": ("blue", "pink"),
    "pink": ("purple", "red"),
    "brown": ("red", "orange"),
}


def _with_error(claim: Claim, kind: ErrorType, scene: Scene, rng: random.Random) -> Claim:
    if isinstance(claim, CountClaim):
        return CountClaim(rng.choice([number for number in range(1, 6) if number != claim.count]))
    if isinstance(claim, WordClaim):
        if kind == "place":
            return replace(claim, place=rng.choice([row for row in ROWS if row != claim.place]))
        return replace(claim, word=rng.choice([word for word in WORDS if word != claim.word]))
    field, values, present = {
        "shape": ("shape", SHAPES, [thing.shape for thing in scene.things]),
        "colour": ("colour", tuple(COLOURS), [thing.colour for thing in scene.things]),
        "size": ("size", SIZES, []),
        "place": ("place", PLACES, [thing.place for thing in scene.things]),
    }[kind]
    right = getattr(claim, field)
    pool = rng.choices((values, present, _NEAR.get(right, values)), (0.4, 0.3, 0.3))[0]
    wrong = [value for value in pool if value != right] or [value for value in values if value != right]
    return replace(claim, **{field: rng.choice(wrong)})


def statement(scene: Scene, rng: random.Random) -> Statement:
    """A statement about the scene, true with probability one half; from easy ("There is a circle.") to hard (a whole
    sentence of a detailed caption, a short caption, or several sentences, with one attribute changed).
    """
    if rng.random() < 0.06:
        return _passage(scene, rng)
    true = rng.random() < 0.5
    wording = rng.choices((0, 1, 2), (0.6, 0.2, 0.2))[0]
    facts = scene_claims(scene)
    shape_of_statement = rng.choices(("sentence", "partial", "count", "word", "list"), (0.5, 0.22, 0.08, 0.08, 0.12))[0]
    if shape_of_statement == "word" and scene.word is None:
        if true:
            shape_of_statement = "sentence"
        else:
            absent = WordClaim(rng.choice(WORDS), rng.choice(ROWS))
            return Statement(sentence(absent, wording), False, "text")
    if shape_of_statement == "count":
        claims = facts[:1]
    elif shape_of_statement == "word":
        claims = facts[-1:]
    elif shape_of_statement == "list":
        claims = [_without_place(claim) for claim in facts[1:]]
    else:
        thing = rng.choice([claim for claim in facts if isinstance(claim, ThingClaim)])
        claims = [thing if shape_of_statement == "sentence" else _partial(thing, rng)]

    error: ErrorType | None = None
    if not true:
        changed = falsified(claims, scene, rng)
        if changed is None:
            true = True
        else:
            claims, error = changed
    text = list_sentence(claims, rng) if shape_of_statement == "list" else sentence(claims[0], wording)
    return Statement(text, true, error)


def _passage(scene: Scene, rng: random.Random) -> Statement:
    wording = rng.choices((0, 1, 2), (0.6, 0.2, 0.2))[0]
    facts = scene_claims(scene)
    start = rng.randrange(len(facts) - 1)
    claims = facts[start : rng.randint(start + 2, len(facts))]
    position = rng.randrange(len(claims))
    changed = falsified([claims[position]], scene, rng) if rng.random() < 0.5 else None
    error: ErrorType | None = None
    if changed is not None:
        (claims[position],), error = changed
    return Statement(" ".join(sentence(claim, wording) for claim in claims), error is None, error)


def _partial(thing: ThingClaim, rng: random.Random) -> ThingClaim:
    kept = rng.sample(("shape", "colour", "size", "place"), rng.choice((1, 1, 2, 2, 3)))
    return ThingClaim(**{field: getattr(thing, field) for field in kept})


def yes_no(about: Statement, rng: random.Random) -> Exchange:
    """The statement as a question with the answer "yes" or "no"; its full stop is sometimes left out."""
    text = about.text if rng.random() < 0.7 else about.text.removesuffix(".")
    template = rng.choices(QUESTIONS, (0.5, 0.1, 0.1, 0.3))[0]
    return Exchange(template.format(statement=text), "yes" if about.true else "no")


def open_question(scene: Scene, rng: random.Random) -> Exchange:
    """A question about one place, one attribute, the count or the printed word, with the answer in a word or few."""
    kind = rng.choices(("place", "attribute", "where", "word", "count"), (0.35, 0.3, 0.2, 0.1, 0.05))[0]
    if kind == "word":
        return Exchange("Which word is printed?", "none" if scene.word is None else scene.word.word)
    if kind == "count":
        return Exchange("How many shapes are there?", NUMBERS[len(scene.things)])
    thing = rng.choice(scene.things)
    claim = ThingClaim(thing.shape, thing.colour, thing.size, thing.place)
    if kind == "where":
        alike = [other for other in scene.things if (other.shape, other.colour) == (thing.shape, thing.colour)]
        if len(alike) == 1:
            return Exchange(f"Where is the {thing.colour} {thing.shape}?", _IN_PLACE[thing.place])
        kind = "place"
    if kind == "attribute":
        asked, answer = rng.choice((("shape", thing.shape), ("colour", thing.colour), ("size", thing.size)))
        return Exchange(f"Which {asked} is {_IN_PLACE[thing.place]}?", answer)
    if rng.random() < 0.25:
        free = [place for place in PLACES if all(other.place != place for other in scene.things)]
        place = rng.choice(free)
        fills = scene.word is not None and PLACES.index(place) // 3 == ROWS.index(scene.word.place)
        answer = f'the word "{scene.word.word}"' if fills and scene.word is not None else "nothing"
        return Exchange(f"What is {_IN_PLACE[place]}?", answer)
    return Exchange(f"What is {_IN_PLACE[thing.place]}?", noun_phrase(claim))
