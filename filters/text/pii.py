"""Personal data and secrets in captions."""

import ipaddress
import re
from typing import ClassVar, Final, Literal

import polars as pl
from pydantic import Field

from filters.contract.filter import Filter
from filters.wording.spans import SPANS, find_spans, gather

Kind = Literal["email", "phone", "ip", "card", "iban", "id", "secret"]

_B: Final = r"(?-u:\b)"
_EMAIL: Final = (
    r"(?i)(?-u:\b)[a-z0-9][a-z0-9._%+-]{0,63}@(?:[a-z0-9](?:[a-z0-9-]{0,62})\.){1,5}[a-z]{2,18}(?-u:\b)"
    r"|(?-u:\b)[a-z0-9][a-z0-9._%+-]{0,63} ?[\[(](?:at)[\])] ?[a-z0-9-]{1,63} ?(?:\.|[\[(]dot[\])]) ?[a-z]{2,18}(?-u:\b)"
)
# Numbers are many things. One counts as a telephone number with a country code, as an American one with its separators, or
# after a word that says so.
_PHONE: Final = (
    r"\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){2,4}(?-u:\b)"
    r"|\(\d{3}\) ?\d{3}[ .-]\d{4}(?-u:\b)"
    r"|(?-u:\b)(?:1[ .-])?[2-9]\d{2}(?: - \d{3} - |-\d{3}-|\.\d{3}\.)\d{4}(?-u:\b)"
    r"|(?i:(?-u:\b)(?:phone|telephone|tel|mobile|cell|fax|whatsapp|hotline|call(?: us)?(?: at| on)?)(?: (?:no|number))?[.:]{0,2} ?)"
    r"[(+]?\d{2,4}[)]?(?:[ ./-]{1,3}\d{2,5}){1,4}(?-u:\b)"
)
_IP: Final = (
    r"(?-u:\b)(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?-u:\b)"
    r"|(?i:(?-u:\b)(?:[0-9a-f]{1,4}:){2,7}(?::?[0-9a-f]{1,4}){1,6}(?-u:\b))"
)
_CARD: Final = r"(?-u:\b)[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,4}(?:[ -]?\d{3})?(?-u:\b)|(?-u:\b)3[47]\d{2}[ -]?\d{6}[ -]?\d{5}(?-u:\b)"
_SECRET: Final = (
    r"(?-u:\b)(?:AKIA|ASIA)[0-9A-Z]{16}(?-u:\b)"  # Amazon Web Services
    r"|(?-u:\b)gh[pousr]_[A-Za-z0-9]{36,}|(?-u:\b)github_pat_[A-Za-z0-9_]{40,}|(?-u:\b)glpat-[A-Za-z0-9_-]{20,}"
    r"|(?-u:\b)sk-(?:[a-z]{2,12}-)*[A-Za-z0-9_-]{20,}|(?-u:\b)hf_[A-Za-z]{30,}|(?-u:\b)AIza[A-Za-z0-9_-]{35}"
    r"|(?-u:\b)xox[abeprs]-[A-Za-z0-9-]{10,}|(?-u:\b)(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}"
    r"|(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"  # JSON Web Token
    r"|-----BEGIN (?:[A-Z]{2,12} ){0,3}PRIVATE KEY-----"
    # After a colon what is given is one whatever it is, but for words that a form says there.
    r"|(?i:(?-u:\b)(?:pass(?:word|code|phrase)|passwd|pwd|pin(?: ?(?:code|number|no\.?))?|cvv2?|cvc2?) ?[:=] ?)[\"']?[^\s\"'.,;]{3,}"
    r"|(?i:(?-u:\b)(?:passcode|pin(?: ?(?:code|number|no\.?))?|cvv2?|cvc2?) (?:(?:is|was|reads|of) )?)[0-9]{3,8}(?-u:\b)"
    r"|(?i:(?-u:\b)(?:pass(?:word|code|phrase)?|passwd|pwd|api[_ -]?key|secret[_ -]?key|access[_ -]?token)(?: is ?[:=]?| ?[:=]) ?)"
    r"[\"']?(?:[^\s\"']{5,}[0-9][^\s\"']*|[^\s\"']*[0-9][^\s\"']{5,})"
)
_IBAN: Final = (
    r"(?-u:\b)[A-Z]{2}[0-9]{2}(?:[ \x{A0}-]?[A-Z0-9]{4}){2,7}(?:[ \x{A0}-]?[A-Z0-9]{1,3})?(?-u:\b)"
    r"|(?-u:\b)[a-z]{2}[0-9]{2}[a-z0-9]{11,30}(?-u:\b)"
)
# American social security numbers, and numbers of papers after a word that says so.
_IBAN_LENGTHS: Final = {
    one[:2]: int(one[2:])
    for one in [
        "AD24",
        "AE23",
        "AL28",
        "AT20",
        "AZ28",
        "BA20",
        "BE16",
        "BG22",
        "BH22",
        "BR29",
        "BY28",
        "CH21",
        "CR22",
        "CY28",
        "CZ24",
        "DE22",
        "DK18",
        "DO28",
        "EE20",
        "EG29",
        "ES24",
        "FI18",
        "FO18",
        "FR27",
        "GB22",
        "GE22",
        "GI23",
        "GL18",
        "GR27",
        "GT28",
        "HR21",
        "HU28",
        "IE22",
        "IL23",
        "IQ23",
        "IS26",
        "IT27",
        "JO30",
        "KW30",
        "KZ20",
        "LB28",
        "LC32",
        "LI21",
        "LT20",
        "LU20",
        "LV21",
        "LY25",
        "MC27",
        "MD24",
        "ME22",
        "MK19",
        "MR27",
        "MT31",
        "MU30",
        "NL18",
        "NO15",
        "PK24",
        "PL28",
        "PS29",
        "PT25",
        "QA29",
        "RO24",
        "RS22",
        "SA24",
        "SC31",
        "SE24",
        "SI19",
        "SK24",
        "SM27",
        "ST25",
        "SV28",
        "TL23",
        "TN24",
        "TR26",
        "UA29",
        "VA22",
        "VG24",
        "XK20",
    ]
}
"""Signs of an international bank account number by country (SWIFT's registry of ISO 13616)."""
_SAID: Final = r"(?:\s?(?:\(?(?:no|nr|num|number|ssn|id)\b\)?\.?|is|was|reads|[:#=])){0,4}\s?"
"""Between the word and the number: "passport no. is", "SSN #:", "social security number (SSN): "."""
_ID: Final = (
    r"(?-u:\b)[0-8][0-9]{2}[-\x{2010}-\x{2013}][0-9]{2}[-\x{2010}-\x{2013}][0-9]{4}(?-u:\b)"
    r"|(?i:(?-u:\b)(?:ssn|social security|tax(?:payer)? id|national (?:id|insurance)|nino|itin|tin)"
    rf"{_SAID})[A-Z0-9][A-Z0-9 -]{{4,14}}[0-9A-D](?-u:\b)"
    r"|(?i:(?-u:\b)(?:passport|driver['’]?s licen[cs]e|driving licen[cs]e|id card|identity card|residence permit)"
    rf"{_SAID})[A-Z0-9]{{1,3}} ?[A-Z0-9]{{5,10}}(?-u:\b)"
    r"|(?-u:\b)[PIAC][A-Z<][A-Z]{3}[A-Z]{1,30}(?:<[A-Z]{1,20})?<<[A-Z<]{5,40}"  # the machine-readable zone of a passport
)
_PATTERNS: Final[dict[Kind, str]] = {
    "secret": _SECRET,
    "email": _EMAIL,
    "card": _CARD,
    "iban": _IBAN,
    "id": _ID,
    "ip": _IP,
    "phone": _PHONE,
}


class Pii(Filter):
    """Whether a caption holds personal data or secrets.

    **Finds**, as `spans` of these kinds (with `kind` the first):

    - `email`: addresses, also as "name [at] host [dot] org"
    - `phone`: numbers with a country code, American ones with their separators, and any after "phone:", "call" and the like
    - `ip`: IPv4 and IPv6 addresses
    - `card`: 13 to 19 digits that satisfy the check digit of payment cards (Luhn)
    - `iban`: international bank account numbers whose check digits hold (ISO 13616)
    - `id`: social security numbers, numbers after "passport", "driver's license" and the like, and the lines of a passport for machines
    - `secret`: keys of well-known services by their prefix, private keys, JSON Web Tokens, "password: ...", "PIN 4821"

    **Scores** 0 where there is any, else 1. Null text has no score. `spans` are in characters, so they can be masked
    (`filters.text.rewrites.mask_pii`). Names of people and postal addresses are not looked for: they take a model.

    **Defaults.** All kinds. Of the 15,833 human captions of Conceptual Captions' validation set one is flagged, a real
    telephone number ("for an appointment call 850 - 244 - 5117").

    **Example.** "Write to jane.doe@example.org" scores 0.
    """

    name: ClassVar[str] = "pii"
    version: ClassVar[int] = 3
    needs: ClassVar[tuple[str, ...]] = ("text",)
    evidence: ClassVar[dict[str, pl.DataType]] = {"kind": pl.String(), "spans": SPANS}

    kinds: tuple[Kind, ...] = Field(
        ("email", "phone", "ip", "card", "iban", "id", "secret"),
        min_length=1,
        description="Kinds to look for, of those above.",
    )

    def score(self, captions: pl.DataFrame) -> pl.DataFrame:
        rows = self.inputs(captions).with_row_index("row")
        return (
            rows.join(gather(self.find(rows)), on="row", how="left", maintain_order="left")
            .with_columns(score=pl.col("kind").is_null().cast(pl.Float64))
            .select(pl.when(pl.col("text").is_not_null()).then("score").alias("score"), "kind", "spans")
        )

    def find(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The table of `filters.wording.spans.find_spans` for these kinds, less what fails its check; `rows`: `row`, `text`."""
        wanted = [(kind, pattern) for kind, pattern in _PATTERNS.items() if kind in self.kinds]
        suspects = rows.filter(pl.col("text").str.contains("|".join(f"(?:{pattern})" for _, pattern in wanted)))
        found = find_spans(suspects, wanted)
        real = [_CHECKS.get(kind, _any)(match) for kind, match in found.select("kind", "match").iter_rows()]
        return found.filter(pl.Series(real, dtype=pl.Boolean))


def _luhn(match: str) -> bool:
    """The check digit of ISO/IEC 7812-1: every second digit from the right doubled, its digits summed."""
    digits = [int(digit) for digit in match if digit.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _address(match: str) -> bool:
    try:
        address = ipaddress.ip_address(match)
    except ValueError:
        return False
    # "1.0.0.0" is a version number, "10:15:30" a time.
    return not (address.version == 4 and (match.startswith("0.") or match.endswith(".0"))) and (
        address.version == 4 or match.count(":") > 2
    )


def _number(match: str) -> bool:
    return 7 <= sum(character.isdigit() for character in match) <= 15


def _iban(match: str) -> bool:
    """The check of ISO 7064, MOD 97-10, over the number with its first four signs moved to the end; what the country's numbers
    are too short for is the word after it.
    """
    signs = "".join(sign for sign in match if sign.isalnum()).upper()
    signs = signs[: _IBAN_LENGTHS.get(signs[:2], len(signs))]
    if not 15 <= len(signs) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])) % 97 == 1


def _secret(match: str) -> bool:
    """Not what a form says after "Password:"."""
    said = match.lower().replace("=", ":").rpartition(":")[2].strip(" \"'")
    return said not in (
        "required",
        "protected",
        "forgot",
        "forgotten",
        "field",
        "reset",
        "here",
        "login",
        "none",
        "unknown",
    )


def _identity(match: str) -> bool:
    """Not an impossible social security number (area 000 or 666, group 00, serial 0000), nor a word without digits."""
    parts = re.split(r"[-\u2010-\u2013]", match)
    if len(parts) == 3 and all(part.isdigit() for part in parts):
        return parts[0] not in ("000", "666") and parts[1] != "00" and parts[2] != "0000"
    digits = sum(sign.isdigit() for sign in match)
    return digits >= 6 or "<<" in match or (digits >= 4 and match.lower().startswith("passport"))


def _any(match: str) -> bool:
    return bool(match)


_CHECKS: Final = {"card": _luhn, "ip": _address, "phone": _number, "iban": _iban, "id": _identity, "secret": _secret}
