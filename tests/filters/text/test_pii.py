import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import FilterError, Pii, build


def found(text: str, **params: object) -> list[tuple[str, str]]:
    frame = Pii(**params).score(pl.DataFrame({"text": [text]}))
    spans = frame["spans"].item()
    assert frame["score"].item() == (0.0 if spans is not None else 1.0)
    return [(span["kind"], text[span["start"] : span["end"]]) for span in spans if span] if spans is not None else []


@pytest.mark.parametrize(
    ("text", "kind", "span"),
    [
        ("write to jane.doe+x@mail.example.org now", "email", "jane.doe+x@mail.example.org"),
        ("jane [at] example [dot] org", "email", "jane [at] example [dot] org"),
        ("🐕 ring +49 30 1234567", "phone", "+49 30 1234567"),
        ("a van with (555) 123-4567 on it", "phone", "(555) 123-4567"),
        ("555-123-4567 on a sign", "phone", "555-123-4567"),
        ("for an appointment call 850 - 244 - 5117 .", "phone", "call 850 - 244 - 5117"),
        ("a screen with 192.168.1.17 on it", "ip", "192.168.1.17"),
        ("the address 2001:db8:0:1:1:1:1:1 is shown", "ip", "2001:db8:0:1:1:1:1:1"),
        ("a card 4111 1111 1111 1111 lies there", "card", "4111 1111 1111 1111"),
        ("a card 3782 822463 10005 lies there", "card", "3782 822463 10005"),
        ("key AKIA" + "IOSFODNN7EXAMPLE here", "secret", "AKIA" + "IOSFODNN7EXAMPLE"),
        ("token ghp_" + "a1B2" * 9, "secret", "ghp_" + "a1B2" * 9),
        ("the note says password: hunter22x", "secret", "password: hunter22x"),
        ("-----BEGIN RSA " + "PRIVATE KEY-----", "secret", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    ],
)
def test_personal_data_and_secrets_are_found_with_their_place(text: str, kind: str, span: str) -> None:
    assert found(text) == [(kind, span)]


@pytest.mark.parametrize(
    "text",
    [
        "a house from 1850 - 1900",
        "two men at 10:15:30",
        "version 1.0.0.0 of a phone",
        "a price of $1,299.99",
        "4111 1111 1111 1112 is no card",
        "0000 0000 0000 0000",
        "item 14600135 of 17000000",
        "follow @jane on the beach",
        "the score is 3 - 2 - 1",
        "25.12.2020 and 2020-12-25",
        "a mobile phone on 2 tables",
        "password protected laptop",
        "a secret key hangs on a nail",
        "player number 555 - 1234567890123456",
        "coordinates 52.520008, 13.404954",
        "sk-ating rink",
        "isbn 978-3-16-148410-0",
        "",
    ],
)
def test_other_numbers_and_words_are_none(text: str) -> None:
    assert found(text) == []


def test_only_the_kinds_wanted_are_looked_for() -> None:
    text = "jane@example.org or 555-123-4567"

    assert [kind for kind, _ in found(text)] == ["email", "phone"]
    assert [kind for kind, _ in found(text, kinds=("phone",))] == ["phone"]
    with pytest.raises(FilterError, match=r"pii\.kinds"):
        build("pii", {"kinds": ["name"]})


@settings(deadline=None)
@given(digits=st.text("0123456789", min_size=12, max_size=15))
def test_a_card_number_with_a_wrong_check_digit_is_none(digits: str) -> None:
    number = "4" + digits[:14].ljust(14, "1")
    right = next(check for check in "0123456789" if luhn(number + check))

    for check in "0123456789":
        assert bool(found(number + check, kinds=("card",))) == (check == right and len(set(number + check)) > 1)


def luhn(number: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("The card reads SSN 078-05-1120.", "id"),
        ("Passport No. C01234567 lies open.", "id"),
        ("Pay to DE89 3704 0044 0532 0130 00", "iban"),
        ("GB82WEST12345698765432 on a form", "iban"),
    ],
)
def test_numbers_of_papers_and_accounts_are_found(text: str, kind: str) -> None:
    score, found, _ = Pii().score(pl.DataFrame({"text": [text]})).row(0)
    assert (score, found) == (0.0, kind)


@pytest.mark.parametrize(
    "text", ["DE89 3704 0044 0532 0130 01", "000-12-3456", "a passport from 2015 on a table", "score 21-14-2015"]
)
def test_numbers_that_fail_their_check_are_none(text: str) -> None:
    assert Pii().score(pl.DataFrame({"text": [text]}))["score"].item() == 1.0


def test_a_password_is_found_after_is_and_a_caption_about_one_is_not() -> None:
    texts = ["the wifi password is hunter2024", "Passcode: x7k2-99", "a note with a password is on the wall"]

    assert Pii().score(pl.DataFrame({"text": texts}))["score"].to_list() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    "text",
    [
        "IBAN DE89370400440532013000 BIC COBADEFF",
        "GB82-WEST-1234-5698-7654-32",
        "SSN #: 078-05-1120",
        "social security number (SSN): 078 05 1120",
        "passport no. C01X00T47",
        "A note says password: letmein",
        "PIN code 4821",
        "P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<",
    ],
)
def test_papers_accounts_and_passwords_are_found_as_people_write_them(text: str) -> None:
    assert Pii().score(pl.DataFrame({"text": [text]}))["score"].item() == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "A passport lies on the table",
        "A form with a password field",
        "Password: required",
        "passport stamps from 2019",
        "DE89 3704 0044 0532 0130 01 is no account",
    ],
)
def test_words_of_papers_without_their_numbers_are_no_data(text: str) -> None:
    assert Pii().score(pl.DataFrame({"text": [text]}))["score"].item() == 1.0
