"""The law of the house (tests/rooms.py): imports go down only, nothing imports in a circle, and the page says so."""

from __future__ import annotations

from tests.rooms import (
    MAY_IMPORT,
    ROOT,
    STILL_CIRCULAR,
    STILL_UPWARD,
    allowed,
    circles,
    duty,
    imports,
    room_of,
    rooms,
    upward,
    with_rooms,
)


def test_every_room_is_in_the_law_and_every_room_of_the_law_is_there() -> None:
    assert [room for room, modules in rooms().items() if room not in MAY_IMPORT or not modules] == []


def test_the_law_lets_a_room_import_only_rooms_below_it() -> None:
    floors = list(MAY_IMPORT)
    for floor, room in enumerate(floors):
        assert allowed(room) <= set(floors[:floor]), room


def test_no_import_breaks_the_law_but_those_still_to_be_cleared() -> None:
    assert upward() - STILL_UPWARD == set()


def test_what_is_cleared_leaves_the_lists() -> None:
    assert STILL_UPWARD - upward() == set()
    assert STILL_CIRCULAR - circles(imports()) == set()


def test_no_files_import_in_a_circle_but_those_still_to_be_cleared() -> None:
    assert circles(imports()) - STILL_CIRCULAR == set()


def test_no_rooms_import_in_a_circle_but_by_an_import_that_breaks_the_law() -> None:
    broken = {tuple(pair.split(" -> ")) for pair in STILL_UPWARD}
    graph: dict[str, set[str]] = {}
    for module, others in imports().items():
        kept = {room_of(other) for other in others if (module, other) not in broken}
        graph.setdefault(room_of(module), set()).update(kept - {room_of(module)})
    assert circles(graph) == set()


def test_circles_are_found_however_long_they_are() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}) == {"a b c"}
    assert circles({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}) == set()
    assert circles({"a": {"b"}, "b": {"a"}, "c": {"d", "a"}, "d": {"c"}}) == {"a b", "c d"}


def test_every_room_says_its_duty_in_one_line() -> None:
    for room in MAY_IMPORT:
        assert duty(room).endswith("."), room


def test_the_page_of_the_architecture_has_this_law() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert with_rooms(page) == page, "run: make docs"
