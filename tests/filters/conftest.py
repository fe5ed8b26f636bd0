"""Small models for the filters that take one, trained or drawn at random here."""

from pathlib import Path

import pytest

from factory.demo.checkpoint import checkpoint_path
from filters import train_quality
from filters.models.fasttext_model import import_fasttext
from tests.filters.detectors import owl

SENTENCES = {
    "en": "the a dog cat man woman runs sits on over beach street and with of wide red two in water is are her his",
    "de": "der die das ein eine Hund Katze Mann Frau läuft sitzt auf über Strand Straße und mit von breit rot zwei im Wasser ist",
    "fr": "le la un une chien chat homme femme court assis sur plage rue et avec de large rouge deux dans eau est sont son",
}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The path of a small model for each filter that takes one, by the filter's name."""
    folder = tmp_path_factory.mktemp("models")
    languages = language_model(folder / "language.bin")
    return {
        "language": languages,
        "language_drift": languages,
        "quality": quality_model(folder / "quality.bin"),
        "toxicity": toxicity_model(folder / "toxicity"),
        "nsfw": image_classifier(folder / "nsfw", ("normal", "nsfw")),
        "watermark": image_classifier(folder / "watermark", ("clean", "watermark")),
        "alignment": str(checkpoint_path("align")),
        "object_grounding": owl(folder / "object_grounding"),
    }


def language_model(path: Path) -> str:
    """A fastText model of three languages by their commonest words, shaped like lid.176."""
    lines = path.with_suffix(".txt")
    words = {language: text.split() for language, text in SENTENCES.items()}
    shifted = [
        f"__label__{language} {' '.join((known * 2)[start : start + 8])}"
        for start in range(20)
        for language, known in words.items()
    ]
    lines.write_text("\n".join(shifted * 10))
    options = {"dim": 8, "epoch": 10, "minn": 2, "maxn": 4, "bucket": 5000, "thread": 1, "verbose": 0}
    import_fasttext("the tests").train_supervised(input=str(lines), lr=0.5, **options).save_model(str(path))
    return str(path)


def quality_captions() -> tuple[list[str], list[str]]:
    """Sentences, and lists of key words."""
    animals, places = ["dog", "cat", "horse", "cow", "bird", "fox"], ["beach", "street", "hill", "roof", "lawn", "road"]
    good = [
        f"A {animal} {verb} on a {place}, {ending}."
        for animal in animals
        for place in places
        for verb in ("runs", "sits", "sleeps")
        for ending in ("near the water", "under grey clouds")
    ]
    bad = [
        f"{animal} {place} {tail} {number}"
        for animal in animals
        for place in places
        for tail in ("4k hd", "wallpaper free", "buy now")
        for number in (1, 2)
    ]
    return good, bad


def quality_model(path: Path) -> str:
    """A quality model of sentences against key words."""
    train_quality(*quality_captions(), path, buckets=5000)
    return str(path)


def toxicity_model(folder: Path) -> str:
    """A BERT of one layer with random weights and the labels of detoxify, independent of each other."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "dog",
        "runs",
        ".",
        "stupid",
        "ugly",
        "man",
        "on",
        "beach",
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        id2label={0: "toxic", 1: "insult", 2: "neutral"},
        label2id={"toxic": 0, "insult": 1, "neutral": 2},
        problem_type="multi_label_classification",
    )
    torch.manual_seed(0)
    BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


def image_classifier(folder: Path, labels: tuple[str, ...], **config: object) -> str:
    """A vision transformer of one layer with random weights and these labels."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    torch.manual_seed(len(labels))
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    names = dict(enumerate(labels))
    model = ViTForImageClassification(
        ViTConfig(
            **shape,
            image_size=16,
            patch_size=8,
            id2label=names,
            label2id={name: number for number, name in names.items()},
            initializer_range=1.0,
            **config,
        )
    )
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return str(folder)
