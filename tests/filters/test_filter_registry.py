import sys
from pathlib import Path

import pytest

from filters import Filter, FilterError, Length, SetFilter, build, registered

SHOUTING = """
import polars as pl
from filters import Filter

class Shouting(Filter):
    \"\"\"Captions in capitals.\"\"\"
    name = "shouting"
    version = 1
    needs = ("text",)
    limit: int = 3

    def score(self, captions):
        return captions.select(score=pl.lit(1.0))

class Nameless(Filter):
    \"\"\"Has no name.\"\"\"
    def score(self, captions): ...

NOT_A_FILTER = 1
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """An installed package whose entry point is the test's parameter; the entry point's name."""
    entry_point = request.param
    (tmp_path / "shouting_plugin.py").write_text(SHOUTING)
    info = tmp_path / "shouting_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[caption_factory.filters]\n{entry_point}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shouting_plugin", raising=False)
    return str(entry_point.partition(" ")[0])


def test_the_built_in_filters_are_registered_by_name() -> None:
    text = [
        "length",
        "repetition",
        "truncation",
        "prompt_leak",
        "refusal",
        "shape",
        "language",
        "boilerplate",
        "artifacts",
        "opener",
        "hedging",
        "pii",
    ]

    of_sets = ["exact_duplicates", "near_duplicates", "repeated_caption", "shifted_rows", "opener_share"]
    of_sets += ["language_drift", "length_cliff", "duplicate_image", "consistency"]
    asking = ["vqa_faithfulness", "caption_likelihood", "visual_pmi", "vlm_judge"]
    assert {*text, *of_sets, *asking, "token_confidence", "toxicity", "quality"} <= set(registered())
    assert {name for name, kind in registered().items() if issubclass(kind, SetFilter)} == set(of_sets)
    assert all(kind.name == name and issubclass(kind, Filter) for name, kind in registered().items())


def test_a_filter_is_built_with_its_parameters() -> None:
    assert build("length", {"min_words": 5, "max_words": 300}) == Length(min_words=5, max_words=300)


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(FilterError, match=r"no filter 'repetitoin'\. Did you mean 'repetition'\? There are: length, "):
        build("repetitoin", {})


def test_an_unknown_parameter_is_answered_with_the_nearest() -> None:
    with pytest.raises(FilterError, match=r"length has no parameter 'min_word'\. Did you mean 'min_words'\?"):
        build("length", {"min_word": 5})


def test_a_parameter_out_of_range_is_named_with_its_value() -> None:
    with pytest.raises(FilterError, match=r"length\.min_words: .*greater than or equal to 0 \(given: -1\)"):
        build("length", {"min_words": -1})


def test_every_wrong_parameter_is_named() -> None:
    with pytest.raises(FilterError, match=r"(?s)length\.min_words.*length\.max_words"):
        build("length", {"min_words": "few", "max_words": 0})


def test_parameters_of_a_filter_without_any_are_refused() -> None:
    with pytest.raises(FilterError, match=r"refusal has no parameter 'strict'\. There are: none\."):
        build("refusal", {"strict": True})


def test_parameters_that_are_no_mapping_are_refused() -> None:
    with pytest.raises(FilterError, match="length: parameters come as a mapping"):
        build("length", [5])  # type: ignore[arg-type]


@pytest.mark.parametrize("plugin", ["shouting = shouting_plugin:Shouting"], indirect=True)
def test_a_plugin_is_registered_and_built(plugin: str) -> None:
    assert registered()["shouting"].__module__ == "shouting_plugin"
    assert build("shouting", {"limit": 4}).model_dump() == {"limit": 4}


@pytest.mark.parametrize("plugin", ["shouting = shouting_plugin:Shouting"], indirect=True)
def test_a_plugin_is_loaded_only_when_it_is_asked_for(plugin: str) -> None:
    build("length", {})
    assert "shouting_plugin" not in sys.modules

    with pytest.raises(FilterError, match="Did you mean 'shouting'"):
        build("shoutin", {})
    assert "shouting_plugin" not in sys.modules


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        ("shouting = no_such_module:Shouting", "cannot be loaded: ModuleNotFoundError"),
        ("shouting = shouting_plugin:Missing", "cannot be loaded: AttributeError"),
        ("shouting = shouting_plugin:NOT_A_FILTER", "is 1, which is no subclass"),
        ("shouting = shouting_plugin:Nameless", "leaves its class variables name, version, needs unset"),
        ("whispering = shouting_plugin:Shouting", "calls itself 'shouting'"),
    ],
    indirect=["plugin"],
)
def test_a_broken_plugin_is_named_with_its_package(plugin: str, problem: str) -> None:
    with pytest.raises(FilterError, match=rf"filter plugin '{plugin}'.*of the package shouting-plugin.*{problem}"):
        registered()
    with pytest.raises(FilterError, match=problem):
        build(plugin, {})


@pytest.mark.parametrize("plugin", ["length = shouting_plugin:Shouting"], indirect=True)
def test_a_plugin_cannot_take_a_built_in_name(plugin: str) -> None:
    with pytest.raises(FilterError, match=r"'length'.*takes the name of a built-in filter"):
        registered()
    assert build("length", {}) == Length()
