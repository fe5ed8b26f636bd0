"""Detectors of one layer a tower with random weights, and the settings of real ones."""

from pathlib import Path


def owl(folder: Path) -> str:
    """An OWLv2 of 4 x 4 boxes, with a tokenizer of characters."""
    import torch
    from transformers import Owlv2Config, Owlv2ForObjectDetection
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    tokenizer = _characters(folder)
    tower = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    marks = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": tokenizer.cls_token_id}
    text = {**tower, **marks, "eos_token_id": tokenizer.sep_token_id, "vocab_size": len(tokenizer)}
    torch.manual_seed(0)
    model = Owlv2ForObjectDetection(
        Owlv2Config(
            text_config={**text, "max_position_embeddings": 32},
            vision_config={**tower, "image_size": 32, "patch_size": 8},
            projection_dim=32,
        )
    )
    _draw(model, 0.3)
    model.save_pretrained(folder)
    Owlv2ImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def grounding_dino(folder: Path) -> str:
    """A Grounding DINO of ten boxes, with a tokenizer of characters."""
    import torch
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig
    from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil

    tokenizer = _characters(folder)
    torch.manual_seed(0)
    model = GroundingDinoForObjectDetection(
        GroundingDinoConfig(
            backbone_config=SwinConfig(
                image_size=32, patch_size=4, embed_dim=8, depths=[1, 1, 1], num_heads=[1, 1, 1], window_size=2,
                out_features=["stage2", "stage3"],
            ),
            text_config=BertConfig(
                vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                intermediate_size=16, max_position_embeddings=64,
            ),
            d_model=32, encoder_layers=1, encoder_attention_heads=2, decoder_layers=2, decoder_attention_heads=2,
            encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=10, num_feature_levels=3, max_text_len=64,
        )
    )  # fmt: skip
    _draw(model, 0.1)
    model.save_pretrained(folder)
    GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 128}).save_pretrained(folder)
    return str(folder)


def _draw(model, deviation: float):  # type: ignore[no-untyped-def]
    """As such models are made, all their answers are alike."""
    for weight in model.parameters():
        if weight.ndim > 1:
            weight.data.normal_(0.0, deviation)


def _characters(folder: Path):  # type: ignore[no-untyped-def]
    from transformers import BertTokenizerFast

    folder.mkdir(exist_ok=True)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = ["[PAD]", "[UNK]", "[CLS]", "[MASK]", ".", "-", *letters, *(f"##{one}" for one in letters), "[SEP]"]
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)}, model_max_length=64)
    tokenizer.save_pretrained(folder)
    return tokenizer
