"""The shipped experts on real parts: rapidocr with its own models, detectors and a classifier of the transformers library."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from factory.experts.contract import ExpertError, findings_of
from factory.experts.kinds import build_expert
from tests.filters.detectors import grounding_dino, owl


def sign(text: str) -> Image.Image:
    image = Image.new("RGB", (320, 120), "white")
    ImageDraw.Draw(image).text((60, 40), text, fill="black", font=ImageFont.load_default(size=40))
    return image


def test_rapidocr_reads_a_sign() -> None:
    reader = build_expert({"kind": "rapidocr"})
    reader.load()
    findings = findings_of(reader.look(sign("OPEN 24")), 320, 120)
    assert [finding.text.replace(" ", "") for finding in findings] == ["OPEN24"]
    (found,) = findings
    assert found.confidence is not None
    assert found.confidence > 0.6
    assert found.box is not None
    left, top, right, bottom = found.box
    assert 0.1 < left < 0.25 < 0.5 < right < 0.9
    assert 0.2 < top < bottom < 0.9
    assert reader.words(findings) == f'"{found.text}"'
    assert list(reader.look(Image.new("RGB", (300, 40), "white"))) == []  # type: ignore[arg-type]


def test_rapidocr_puts_no_quote_marks_into_its_quotes() -> None:
    from factory.experts.contract import Finding

    assert build_expert({"kind": "rapidocr"}).words([Finding('say "x"'), Finding("b")]) == '"say \'x\'", "b"'


@pytest.mark.parametrize("make", [owl, grounding_dino])
def test_an_open_vocabulary_detector_finds_labels_with_boxes(make: object, tmp_path: Path) -> None:
    model = make(tmp_path / "model")  # type: ignore[operator]
    expert = build_expert({"kind": "detector", "model": model, "labels": ["dog", "cat"], "min_confidence": 0.01})
    expert.check()
    expert.load()
    findings = findings_of(expert.look(sign("dog")), 320, 120)
    assert findings
    assert all(finding.confidence and finding.box for finding in findings)
    assert expert.words(findings[:1]) == findings[0].text


def test_a_plain_detector_tells_its_own_labels(tmp_path: Path) -> None:
    import torch
    from transformers import YolosConfig, YolosForObjectDetection
    from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

    torch.manual_seed(0)
    config = YolosConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=[32, 32], patch_size=8,
        num_detection_tokens=4, id2label={0: "dog", 1: "cat"},
    )  # fmt: skip
    YolosForObjectDetection(config).save_pretrained(tmp_path)
    YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 64}).save_pretrained(tmp_path)
    expert = build_expert({"kind": "detector", "model": str(tmp_path), "min_confidence": 0.0, "boxes": True})
    expert.load()
    findings = findings_of(expert.look(sign("dog")), 320, 120)
    assert {finding.text for finding in findings} <= {"dog", "cat"}
    assert len(findings) == 4
    assert expert.words(findings[:1]).startswith(f"{findings[0].text} [")
    with pytest.raises(ExpertError, match="cannot be loaded as an open-vocabulary detector"):
        build_expert({"kind": "detector", "model": str(tmp_path), "labels": ["dog"]}).load()


@pytest.mark.parametrize("kind", ["multi_label_classification", "single_label_classification"])
def test_a_tagger_gives_the_likeliest_tags(kind: str, tmp_path: Path) -> None:
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        id2label={0: "indoor", 1: "sign", 2: "night"}, problem_type=kind,
    )  # fmt: skip
    ViTForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    expert = build_expert({"kind": "tagger", "model": str(tmp_path), "min_confidence": 0.0, "most": 2})
    expert.load()
    findings = findings_of(expert.look(sign("dog")), 320, 120)
    assert len(findings) == 2
    assert (findings[0].confidence or 0) >= (findings[1].confidence or 0)
    assert expert.words(findings) == f"{findings[0].text}, {findings[1].text}"
