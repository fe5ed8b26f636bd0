"""The words that English captions are made of, by what they do in a sentence: closed lists, no tagger, no model."""

from __future__ import annotations

import re
from typing import Final

from filters.wording.noun_phrases import word_set

ARTICLES: Final = word_set("a an the this that these those another each every")
SINGLES: Final = word_set("a an this that another each every one 1")
"""Determiners of one thing."""
POSSESSIVES: Final = word_set("his her its their")
SPEAKERS: Final = word_set("my your our i we you us me")
NUMBERS: Final = word_set(
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen twenty thirty fifty",
    "hundred thousand both zero",
)
QUANTIFIERS: Final = word_set(
    "some several many few multiple various numerous countless all most half dozens hundreds lots"
)
QUANTITIES: Final = (
    ("a", "couple", "of"),
    ("a", "lot", "of"),
    ("a", "number", "of"),
    ("a", "large", "number", "of"),
    ("a", "variety", "of"),
    ("a", "wide", "variety", "of"),
    ("a", "few"),
    ("a", "dozen"),
    ("a", "handful", "of"),
    ("a", "couple"),
    ("lots", "of"),
    ("plenty", "of"),
    ("dozens", "of"),
    ("hundreds", "of"),
    ("some", "of"),
    ("many", "of"),
    ("most", "of"),
    ("all", "of"),
    ("several", "other"),
    ("a", "couple", "other"),
)
NEGATIONS: Final = word_set(
    "no not n't nothing nobody none never neither nor without cannot isn't aren't doesn't don't can't"
)
AUXILIARIES: Final = word_set(
    "is are was were be been being has have had does do did can could may might must will would shall should"
)
BE: Final = word_set("is are was were be been being")
CONJUNCTIONS: Final = word_set("and or &")
RELATIVES: Final = word_set("which who that whose whom")
HEDGES: Final = word_set("possibly likely perhaps maybe probably presumably potentially or")
"""Before a noun phrase: it may be something else."""
SUBORDINATORS: Final = word_set(
    "while as when where because although though if so but whereas since until once than unless yet"
)
PREPOSITIONS: Final = word_set(
    "of in on at to from by with for about above below under over beneath behind beside besides between among across along",
    "around near next into onto off out up down through toward towards against inside outside within upon during before",
    "after like front alongside underneath atop amid amidst beyond past opposite throughout along with per via aboard",
)
LOCATIVES: Final = word_set(
    "in on at above below under over beneath behind beside between among near next inside outside within upon alongside",
    "underneath atop amid amidst beyond opposite around along across against by front",
)
ADVERBS: Final = word_set(
    "likely perhaps maybe",
    "also just only very too there here nearby together away apart outdoors indoors overhead upright still now then",
    "again even often sometimes always usually overall closer further farther however additionally quite rather",
    "almost about around not partially fully mostly directly right close far well closely side side-by-side up down",
    "out off back outside inside upside forward backward ahead aside behind along",
)
PRONOUNS: Final = word_set("he she it they him them someone something everyone each himself herself itself themselves")
SUBJECT_PRONOUNS: Final = word_set("he she it they")
OTHERS: Final = word_set("such other others how why what whether else both either if for there here")

COLOURS: Final = word_set(
    "red orange yellow green blue purple pink brown black white gray grey beige tan teal turquoise gold golden silver maroon",
    "violet magenta cyan navy cream ivory scarlet crimson blond blonde brunette multicolored multi-colored colorful colourful",
)
ADJECTIVES: Final = COLOURS | word_set(
    # sizes, shapes, ages
    "large small big little tiny huge giant massive enormous tall short long wide narrow thin thick high low deep shallow",
    "medium medium-sized average oversized miniature round square rectangular circular oval triangular curved straight flat",
    "pointed sharp slim slender chubby fat skinny heavy lightweight young old older younger elderly middle-aged adult teenage",
    "new ancient antique vintage modern contemporary traditional retro rustic historic medieval mature",
    # matter and state
    "wooden metallic metal plastic glass concrete leather stone brick marble cotton woolen wool paper cardboard denim plaid",
    "striped checkered floral patterned stainless ceramic straw wicker tiled carpeted furry fluffy hairy fuzzy smooth rough",
    "shiny glossy bright dark light pale vivid vibrant dim dull clear cloudy sunny rainy snowy foggy misty hazy stormy windy",
    "wet dry dirty dusty muddy clean messy cluttered tidy neat empty full open closed broken cracked rusty worn fresh ripe raw",
    "cooked hot cold warm cool frozen icy sandy rocky grassy leafy lush bare dead alive calm quiet busy crowded lonely solitary",
    "single double triple lone main same different similar various individual separate entire whole half upper lower",
    "dense sparse soft hard loose tight steep tropical urban rural suburban public private local commercial residential",
    "industrial indoor outdoor male female human bald bearded shirtless barefoot pregnant blind naked nude handsome pretty",
    "beautiful gorgeous lovely cute adorable attractive elegant fancy stylish fashionable casual formal happy sad angry serious",
    "sleepy tired excited playful friendly cheerful joyful proud curious focused relaxed comfortable cozy peaceful serene",
    "picturesque scenic dramatic dynamic lively delicious tasty yummy healthy appetizing sweet spicy creamy crispy chocolate",
    "tranquil inviting captivating sensual intimate provocative complete ready simple plain basic complex",
    "unique special strange unusual funny weird interesting amazing impressive spacious luxurious",
    "professional famous popular american asian african european chinese japanese italian british french german mexican indian",
    "electric electronic digital military olympic competitive athletic famous wild domestic stray stuffed furnished parked",
    "overcast distant nearby visible abandoned colored decorative ornate traditional intricate diverse plentiful ample",
    "purebred silhouetted blurry blurred grainy black-and-white monochrome minimalist abstract artistic natural wintry verdant",
    "transparent translucent opaque see-through fluorescent neon pastel tan-colored well-lit half-eaten clear-cut front rear",
    "left right top bottom central middle other final first second third last next own certain specific particular",
    "organic white-tailed equestrian royal national international rich poor safe dangerous fast slow quick lazy famous",
    "bustling charming cosy dilapidated heartwarming whimsical picture-perfect majestic iconic magnificent stunning",
)
VERB_BASES: Final = word_set(
    "stand sit lie lay wear hold look run walk ride play show depict feature contain capture appear seem display include",
    "reveal present illustrate portray sport carry eat drink cook cut slice serve throw catch hit kick swing jump leap fly",
    "swim surf ski skate climb crawl hang lean rest sleep relax wait watch stare gaze glance smile laugh cry talk speak chat",
    "pose perform sing dance read write say spell draw paint work type use drive pull push travel move pass cross enter leave",
    "approach follow lead chase graze feed drink bite lick chew sniff hug kiss touch grab reach pick take bring give get make",
    "put place set sail float drift shine glow reflect cover fill surround line decorate adorn overlook face dominate occupy",
    "create add give suggest indicate emphasize convey enjoy engage prepare participate compete attempt try appear seem begin",
    "start stop continue grow bloom blow fall rise stretch extend lead connect attach support rest sprawl scatter spread",
    "arrange gather line stack pile cluster form share help ensure provide offer allow allow keep stay remain live belong have",
    "do go come see sell buy shop drop lift raise toss bat pitch dribble shoot score celebrate win attend arrive visit wash",
    "clean brush comb shave dress undress open close blend shower bathe bake fry pour stir mix chop hide peek peer point wave",
    "balance ascend descend roam wander forage perch nest snuggle cuddle curl cross separate divide split enclose frame",
    "top border flank block shade illuminate light highlight accompany gather crowd complete accentuate consist comprise",
    "boast exude evoke embody exhibit resemble match complement contrast demonstrate hop skateboard snowboard windsurf",
    "browse unfold navigate race speed board disembark maneuver steer operate inspect examine observe admire study learn teach inhale",
    "cast emerge ascend adjust mark embrace flow run crash splash spray drip land take-off hover soar glide dive",
)
_NOT_VERBS_WITH_S: Final = word_set(
    "covers lines tops frames lights marks boards blocks shades sets places shops drops bats waves points matches tracks",
    "mixes views clusters piles stacks forms works faces types brushes combs slices drinks dresses presents features cuts",
    "showers dishes shots nests bites supports borders crosses races speeds paints contrasts displays studies uses spreads",
    "falls swings jumps flies shares cooks kisses hugs scores toppings reflections lands crowds streams sprays rests sports",
)
"""Forms in -s that are as often nouns: verbs only where the noun phrase before them can have no plural."""
PAST_FORMS: Final = word_set(
    "made held worn seen shown taken built drawn driven eaten given thrown stood sat lay lain ran run walked rode ridden wore",
    "flew flown caught hung hit kept led left lit grown sold bought won woven broken cut set put torn spread bent fed brought",
    "told written spoken sung swum been gone done strewn laid caught found lost hidden beaten bound wound shot went took came",
    "spent ate drank began fell rose sang threw saw stuck parked located situated surrounded covered filled topped dressed seated",
)
PARTICIPLES: Final = word_set(
    "made held worn seen shown taken built drawn driven eaten given thrown hung kept led lit grown sold bought woven broken",
    "cut set put torn spread bent fed brought written spoken strewn laid caught found lost hidden bound shot stuck",
)
NOT_VERBAL: Final = word_set(
    "building ceiling painting wedding clothing morning evening railing opening awning drawing string spring sling",
    "lightning shed sled seed weed speed hundred family butterfly fly belly lily jelly bully assembly bed king ring",
    "wing thing siding stuffing topping pudding icing wrapping something anything everything nothing red being",
    "bobsled bread biped moped feed steed reed need deed lettering seasoning covering beijing pingpong duckling",
    "sibling dumpling sapling earring ceilings breed infrared naked rugged wicked sacred hatred ground-breaking",
    "flooring lighting housing engineering packaging",
)
"""Nouns and adjectives that look like verbs."""
LY_WORDS: Final = word_set(
    "family butterfly fly belly lily jelly bully assembly lonely lovely friendly elderly curly early ugly silly holly italy july",
    "jelly ally only daily weekly hilly wooly woolly bubbly wobbly costly likely lively homely monopoly anomaly supply reply",
)
PLURALS: Final = word_set(
    "people men women children sheep cattle police kids teeth feet geese mice deer fish salmon oxen wolves leaves knives"
    " shelves policemen firemen firefighters fishermen gentlemen businessmen snowmen salesmen grandchildren clothes"
)
NOT_PLURALS: Final = word_set(
    "tennis bus glass dress lens canvas gas grass cross gymnastics christmas bass chess moss business princess news series",
    "campus cactus hippopotamus rhinoceros walrus species basis analysis class mattress mess pass boss actress waitress"
    " fortress compass brass address wilderness darkness happiness process kiss princess platypus circus virus octopus hibiscus"
    " asparagus hummus citrus minus this its us less focus atlas us olympics paris texas dallas vegas swiss",
)
MEN: Final = word_set(
    "man boy guy gentleman male father dad son brother husband groom king prince actor waiter businessman fisherman policeman",
    "grandfather uncle nephew cowboy fireman batter pitcher monk priest bull rooster lad",
)
WOMEN: Final = word_set(
    "woman girl lady female mother mom daughter sister wife bride queen princess actress waitress businesswoman policewoman",
    "grandmother aunt niece nun ballerina hen",
)
PEOPLE: Final = word_set(
    "person people child kid baby toddler infant player skier snowboarder surfer skateboarder rider driver chef cook doctor",
    "nurse teacher student athlete artist singer musician dancer model soldier officer worker tourist pedestrian customer",
    "employee couple family group crowd team politician footballer cricketer biker cyclist swimmer runner hiker climber",
    "friend baseballer umpire catcher referee coach farmer photographer traveler someone adult teenager teen human men women",
    "boys girls ladies kids children",
)
"""Anyone whom he, she and they can stand for, beside MEN and WOMEN."""
GROUPS: Final = word_set(
    "group couple pair crowd team herd flock family bunch people collection variety array row set number lot police audience"
)
IMAGES: Final = word_set(
    "perspective image picture photo photograph photography scene view shot close-up closeup snapshot portrait illustration selfie"
)
"""What an image is called by: a phrase about it says nothing of its own."""
PLACES: Final = word_set(
    "top bottom left right center centre middle side sides corner corners edge edges background foreground front back half",
    "distance surroundings end rear part portion area forefront upper lower",
)
"""Where in an image: no things."""
ABSTRACT: Final = word_set(
    "work color colour skill skills talent intensity total company advice use",
    "sense atmosphere mood feeling feel ambiance ambience importance significance focus attention emphasis experience",
    "moment activity activities connection interaction joy wonder beauty charm element elements touch impression",
    "appearance time day night way kind type sort style addition depth contrast interest purpose variety presence",
    "action actions fun nature emotion emotions relationship opportunity possibility options option vibe aesthetic",
    "composition lot use position overall theme character comfort warmth life event occasion motion distance",
    "direction view quality detail details safety ease balance sunny progress environment conversation concentration",
    "enjoyment excitement anticipation task tasks subject point order case fact result",
)
"""What cannot be pointed at: named, but no object."""

MASS: Final = word_set(
    "water grass snow sand food bread cheese rice meat hair fur furniture clothing traffic luggage baggage equipment dirt wood",
    "smoke rain ice fog sunlight foliage vegetation greenery graffiti text lettering broccoli coffee tea milk wine beer juice",
    "cream sugar soup salad pasta chicken beef pork lettuce fruit sauce butter syrup mud gravel pavement asphalt concrete hay",
    "silverware cutlery tableware glassware makeup jewelry mist dust light shade scenery terrain wildlife air steam foam paint",
    "fabric denim leather stone brick marble plastic metal paper cardboard trash garbage rubble machinery corn spinach garlic",
    "basil parsley cilantro oil fire ocean-water seaweed shrubbery bacon ham tofu ketchup mustard mayonnaise frosting icing ice-cream seafood popcorn",
)
"""What has no plural and takes no article."""
ANIMALS: Final = word_set(
    "animal dog cat horse cow sheep goat pig bird duck goose chicken elephant giraffe zebra lion tiger bear panda monkey",
    "kitten puppy bull rabbit deer fox wolf fish shark whale dolphin seal penguin pigeon seagull parrot owl eagle swan",
    "camel donkey kangaroo koala lizard turtle frog snake butterfly bee insect lamb calf pony cub moose squirrel",
)

SPORTS: Final = word_set(
    "running swimming skating fishing dining shopping landing racing boxing wrestling skiing surfing cycling camping cooking",
    "training gathering meeting setting crossing gardening living parking",
)
"""Nouns, but verbs before a preposition: people skiing down a slope."""

_VERBAL_ING: Final = re.compile(r".{2,}ing$")
_VERBAL_ED: Final = re.compile(r".{2,}ed$")
_ADJECTIVE: Final = re.compile(
    r".{3,}(?:ful|ous|less|ish)$|.{2,}-(?:\w+ed|\w+ing|colou?red|sized|shaped|old|long|size)$"
)


def _third_persons() -> frozenset[str]:
    forms = set()
    for base in VERB_BASES:
        if base.endswith(("s", "x", "ch", "sh", "o")):
            forms.add(base + "es")
        elif base.endswith("y") and base[-2] not in "aeiou":
            forms.add(base[:-1] + "ies")
        else:
            forms.add(base + "s")
    return frozenset(forms | {"has", "does", "goes"})


THIRD_PERSONS: Final = _third_persons()
CLEAR_THIRD_PERSONS: Final = THIRD_PERSONS - _NOT_VERBS_WITH_S


def is_ing(word: str) -> bool:
    """Whether a word looks like a present participle."""
    return word not in NOT_VERBAL and _VERBAL_ING.fullmatch(word) is not None


def is_ed(word: str) -> bool:
    """Whether a word looks like a past form or participle."""
    return (word not in NOT_VERBAL and _VERBAL_ED.fullmatch(word) is not None) or word in PAST_FORMS


def is_participle(word: str) -> bool:
    """Whether a word looks like a past participle, which needs an auxiliary to be a predicate."""
    return word in PARTICIPLES or (word not in NOT_VERBAL and _VERBAL_ED.fullmatch(word) is not None)


def is_adjective(word: str) -> bool:
    """Whether a word before a noun tells of the noun, by the lists and by some endings."""
    return word in ADJECTIVES or _ADJECTIVE.fullmatch(word) is not None or _degree(word)


def _degree(word: str) -> bool:
    for ending in ("est", "er"):
        if word.endswith(ending):
            stem = word[: -len(ending)]
            stems = {stem, stem + "e", stem[:-1] if stem[-1:] == stem[-2:-1] else stem}
            if word not in ("corner", "flower", "tower") and stems & ADJECTIVES and len(stem) > 2:
                return True
    return False


def is_adverb(word: str) -> bool:
    """Whether a word tells of a verb or an adjective."""
    return word in ADVERBS or (len(word) > 4 and word.endswith("ly") and word not in LY_WORDS)


def is_plural(word: str) -> bool:
    """Whether a noun looks like more than one."""
    if word in PLURALS:
        return True
    return word.endswith("s") and not word.endswith(("ss", "us", "is", "'s", "’s")) and word not in NOT_PLURALS


def is_finite(word: str) -> bool:
    """Whether a verb can stand right after its subject: is, has, rides."""
    return word in AUXILIARIES or word in THIRD_PERSONS
