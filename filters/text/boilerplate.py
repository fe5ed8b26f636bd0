"""Text of the page around an image, not about it."""

from typing import ClassVar, Final

import polars as pl

from filters.contract.filter import Filter
from filters.wording.spans import SPANS, find_spans, gather

# English, case-insensitive. Word borders are ASCII: the Unicode ones are slow beyond ASCII.
_B: Final = r"(?-u:\b)"
_MEDIUM: Final = r"(?:photos?|photographs?|photography|images?|pictures?|pics?|illustrations?|vectors?|footage|art|cliparts?|clip art)"
_KINDS: Final = (
    ("url", rf"(?i){_B}(?:https?://|www\.)[^\s<>\"]+|{_B}[a-z0-9-]+\.(?:com|net|org|co\.uk)(?:/[^\s<>\"]*)?{_B}"),
    (
        "file",
        rf"(?i){_B}[a-z0-9_%+-][a-z0-9_.%+()-]*\.(?:jpe?g|png|gif|webp|bmp|tiff?|svg|heic|psd){_B}"
        rf"|{_B}(?:IMG|DSCN?|DSCF|PXL|MVI)_?[0-9][0-9][0-9][0-9]+(?:[_-][0-9a-z_-]+)?{_B}",
    ),
    (
        "stock",
        rf"(?i){_B}(?:royalty[ -]free|rights[ -]managed)(?: stock)?(?: {_MEDIUM}){{0,2}}{_B}"
        rf"|{_B}(?:free |vector )?stock (?:{_MEDIUM} ?){{1,2}}(?: ?[:#] ?\d+)?{_B}"
        rf"|{_B}(?:shutterstock|istock(?:photo)?|gettyimages|getty images|alamy|dreamstime|depositphotos|adobe ?stock|123rf|freepik)"
        rf"(?: [#:]? ?\d{{4,}})?{_B}",
    ),
    (
        "rights",
        rf"(?i)(?:copyright|©|\(c\))\s?(?:©|\(c\))?\s?(?:by\s)?(?:\d{{4}}|all rights)[^.\n]{{0,60}}"
        rf"|{_B}all rights reserved{_B}|{_B}(?:photo|image|picture|photograph)s? (?:credits?|courtesy(?: of)?|by)\s?:[^.\n]{{0,60}}"
        rf"|{_B}(?:used|reproduced|reprinted) (?:with|by) permission{_B}"
        rf"|{_B}(?:photo|image|picture|photograph|illustration|artwork)s? (?:credits?|courtesy(?: of)?|by|from|via)\s?:?\s[^\n]{{1,60}}?"
        rf"(?:{_B}(?:on|via|/|at|from)\s)?{_B}(?:unsplash|pexels|pixabay|flickr|wikimedia(?: commons)?|wikipedia|instagram|pinterest|500px"
        rf"|getty|reuters|afp|associated press|ap photo|epa|shutterstock|facebook|twitter){_B}"
        # All of a caption: who made the picture. Names are written with capitals: "photo by the lake" is none.
        r"|\A\s*\(?(?:photo|image|picture|photograph|photography|illustration|artwork|art|credit|source|courtesy)s?(?: credits?| source"
        r"| courtesy)?(?:\s?[:©]| by| from| of)(?: by| of)?\s*(?-i:(?:\p{Lu}[\p{L}.'’-]*|@\w+|and|&|van|von|de|/|,|\|)\s*){1,6}\)?\.?\s*\z"
        r"|\A\s*(?:courtesy|photo courtesy)(?: of|:)\s[^\n]{1,60}\z|(?:image|photo|picture) source\s?:[^\n]{0,60}"
        rf"|{_B}(?:ap photo|reuters|afp|epa)\s?/\s?[^.\n]{{1,40}}",
    ),
    (
        "shop",
        rf"(?i){_B}(?:free (?:shipping|delivery|returns|download)|add to (?:cart|basket|bag|wish ?list)|buy (?:it )?now|order (?:now|today|online)"
        rf"|shop now|in stock|out of stock|sold out|for sale online|best price|price match|sku\s?[:#]\s?\w+|item (?:no|number)\.?\s?[:#]?\s?\d+"
        rf"|view (?:cart|basket)|proceed to checkout|(?:only )?\d+ left in stock|ships? (?:free|worldwide|within)|limited[ -]time offer|clearance sale"
        rf"|(?:customer|product) reviews?|(?:available|buy|find it|shop) (?:on|at|from) (?:amazon|ebay|etsy|walmart|aliexpress)"
        rf"|save (?:up to )?\d{{1,2}} ?%|\d{{1,2}} ?% off){_B}",
    ),
    (
        "page",
        rf"(?i){_B}(?:click (?:here|on (?:the )?(?:image|photo|picture|thumbnail)|to (?:enlarge|view|zoom|see|play|download))"
        rf"|(?:view|see|show|download) (?:full[ -]size|larger|high[ -]res(?:olution)?|original)(?: (?:image|version|photo|picture))?"
        rf"|read more|learn more|see more|load more|back to top|skip to content|sign up (?:now|today|for)|log ?in to|subscribe (?:to|now|here)"
        rf"|follow (?:us|me)|link in (?:the |my )?bio|(?:tap|hover|swipe|scroll|pinch) (?:to|for) (?:zoom|view|enlarge|expand|see|more)"
        rf"|continue reading|(?:next|previous) (?:slide|image|photo|post|page)|for more information,? (?:visit|see|click|go to|contact)"
        rf"|(?:free )?download (?:this|the|free|now|full|hd)(?: \w+){{0,2}} (?:{_MEDIUM}|wallpapers?|pdf)|accept (?:all )?cookies|posted (?:by|on|in) \w+"
        rf"|(?:image|photo|picture) \(?\d{{1,3}}\)?\s*\z|loading(?:\.\.\.|…)|please wait|\A\s*advertisement\s*\z|sponsored (?:content|post)"
        rf"|share on (?:facebook|twitter|pinterest)|pin it|leave a comment|filed under"
        rf"|privacy policy|terms (?:of (?:use|service)|and conditions)|cookie(?:s)? policy|enable javascript|404 not found|page not found"
        rf"|(?:image|photo|picture|slide|page) \d{{1,4}} (?:of|/) \d{{1,4}}|thumbnail (?:for|of)|related (?:posts|images|articles)){_B}",
    ),
    (
        "placeholder",
        r"(?i)\A\s*(?:image may contain|may be an? (?:image|illustration|cartoon|graphic)|no (?:photo|image|automatic alt text|alt text)"
        r"(?: description)? available|untitled|no (?:description|caption|title)|image result for|alt(?:ernative)? text|screen ?shot \d"
        r"|\[(?:image|photo|picture)[^\]]*\]|(?:null|none|nan|n/a|undefined|unknown|image|photo|picture|default)\s*\z)",
    ),
)
_ANY: Final = "|".join(f"(?:{pattern})" for _, pattern in _KINDS)


class Boilerplate(Filter):
    """How much of a caption is text of the page around the image.

    **Finds**, as `spans` of these kinds (with `kind` the first; English but for the first two):

    - `url` and `file`: addresses and file names ("IMG_2034.JPG")
    - `stock`: "royalty-free stock photo", names of picture agencies
    - `rights`: "© 2015 ...", "photo credit: ..."
    - `shop`: "add to cart", "free shipping"
    - `page`: "click to enlarge", "image 3 of 12", "read more"
    - `placeholder`, at the start: "Image may contain:", "No photo description available", "untitled"

    **Scores** the share of the characters outside the spans, so a threshold of 0.5 allows as much
    boilerplate as caption. 1 is none, and for empty text. Null text has no score. Refusals are the filter `refusal`'s.

    **Defaults.** No parameters. Of the 15,833 human captions of Conceptual Captions' validation set none scores below
    0.5 and 1.7 % below 1.

    **Example.** "Click to enlarge: a dog" scores 0.3.
    """

    name: ClassVar[str] = "boilerplate"
    version: ClassVar[int] = 3
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"kind": pl.String(), "spans": SPANS}

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = self.inputs(captions).with_row_index("row")
        suspects = rows.filter(pl.col("text").str.contains(_ANY))
        found = gather(find_spans(suspects, _KINDS))
        standing = 1.0 - pl.col("covered").fill_null(0) / pl.max_horizontal(pl.col("text").str.len_chars(), 1)
        return rows.join(found, on="row", how="left", maintain_order="left").select(
            pl.when(pl.col("text").is_not_null()).then(standing.clip(0.0, 1.0)).alias("score"), "kind", "spans"
        )
