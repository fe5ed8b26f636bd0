"""Personal data and secrets in captions."""

import ipaddress
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
    r"|(?i:(?-u:\b)(?:pass(?:word|code|phrase)?|passwd|pwd|api[_ -]?key|secret[_ -]?key|access[_ -]?token)(?: is ?[:=]?| ?[:=]) ?)"
    r"[\"']?(?:[^\s\"']{5,}[0-9][^\s\"']*|[^\s\"']*[0-9][^\s\"']{5,})"
)
_IBAN: Final = r"(?-u:\b)[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?-u:\b)"
# American social security numbers, and numbers of papers after a word that says so.
_ID: Final = (
    r"(?-u:\b)[0-8][0-9]{2}-[0-9]{2}-[0-9]{4}(?-u:\b)"
    r"|(?i:(?-u:\b)(?:ssn|social security(?: (?:no|number))?|tax(?:payer)? id|national (?:id|insurance)(?: (?:no|number))?)(?: is|\.)?\s?[:#]?\s?)"
    r"[A-Z0-9][A-Z0-9 -]{4,14}[0-9A-D](?-u:\b)"
    r"|(?i:(?-u:\b)(?:passport|driver['’]?s licen[cs]e|driving licen[cs]e|id card|identity card)(?: (?:no|number|nr))?(?: is|\.)?\s?[:#]?\s?)"
    r"[A-Z]{0,3}[0-9]{6,10}[A-Z]?(?-u:\b)"
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
    - `id`: social security numbers, and numbers after "passport", "driver's license" and the like
    - `secret`: keys of well-known services by their prefix, private keys, JSON Web Tokens, "password: ..."

    **Scores** 0 where there is any, else 1. Null text has no score. `spans` are in characters, so they can be masked
    (`filters.text.rewrites.mask_pii`). Names of people and postal addresses are not looked for: they take a model.

    **Defaults.** All kinds. Of the 15,833 human captions of Conceptual Captions' validation set one is flagged, a real
    telephone number ("for an appointment call 850 - 244 - 5117").

    **Example.** "Write to jane.doe@example.org" scores 0.
    """

    name: ClassVar[str] = "pii"
    version: ClassVar[int] = 2
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
    """The check of ISO 7064, MOD 97-10, over the number with its first four signs moved to the end."""
    signs = match.replace(" ", "")
    if not 15 <= len(signs) <= 34:
        return False
    return int("".join(str(int(sign, 36)) for sign in signs[4:] + signs[:4])) % 97 == 1


def _identity(match: str) -> bool:
    """Not an impossible social security number (area 000 or 666, group 00, serial 0000), nor a word without digits."""
    parts = match.split("-")
    if len(parts) == 3 and all(part.isdigit() for part in parts):
        return parts[0] not in ("000", "666") and parts[1] != "00" and parts[2] != "0000"
    return sum(sign.isdigit() for sign in match) >= 6


def _any(match: str) -> bool:
    return bool(match)


_CHECKS: Final = {"card": _luhn, "ip": _address, "phone": _number, "iban": _iban, "id": _identity}
