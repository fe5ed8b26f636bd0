"""Captions a second through datatrove's and data-juicer's own classes, by the rules that `bench/filters.py` compares.

    python -m bench.peers {datatrove,data_juicer} CAPTIONS.jsonl MODEL

Runs in an environment of the peers (the extra `bench-peers`; their pins clash with the factory's), which
`bench/filters.py --peers` starts it in. CAPTIONS.jsonl has one object with `text` a line, MODEL is a fastText language model. The
last line it prints is one JSON object: seconds by rule.

The rules are set as near to the factory's as each peer's parameters allow, which is less work than their defaults: length by
words, language by the same model, repetition by 4-grams, near duplicates by MinHash over three-word shingles with 128
permutations. Captions are in memory and models loaded before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIN_WORDS, MAX_WORDS = 3, 512
WARM_UP = 200  # captions

Rules = dict[str, Callable[[list[str]], Any]]


def main() -> None:
    """Time every rule of one peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["datatrove", "data_juicer"])
    parser.add_argument("captions", type=Path)
    parser.add_argument("model")
    options = parser.parse_args()
    texts = [json.loads(line)["text"] for line in options.captions.read_text().splitlines()]
    with tempfile.TemporaryDirectory() as folder:
        rules = {"datatrove": datatrove, "data_juicer": data_juicer}[options.peer](options.model, Path(folder))
        seconds = {}
        for name, run in rules.items():
            run(texts[:WARM_UP])
            started = time.perf_counter()
            run(texts)
            seconds[name] = time.perf_counter() - started
            print(f"{options.peer} {name}: {len(texts) / seconds[name]:.0f} captions/s", file=sys.stderr)
    print(json.dumps(seconds))


def datatrove(model: str, folder: Path) -> Rules:
    """One block of a pipeline for each rule; the four stages of MinHash one after another."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter, LanguageFilter
    from datatrove.utils.logging import logger
    from fasttext.FastText import _FastText

    logger.remove()
    length = GopherQualityFilter(
        min_doc_words=MIN_WORDS,
        max_doc_words=MAX_WORDS,
        min_avg_word_length=None,
        max_avg_word_length=None,
        max_symbol_word_ratio=None,
        max_bullet_lines_ratio=None,
        max_ellipsis_lines_ratio=None,
        max_non_alpha_words_ratio=None,
        min_stop_words=None,
    )
    language = LanguageFilter(languages=["en"])
    language.model._model = _FastText(model)
    repetition = GopherRepetitionFilter(top_n_grams=(), dup_n_grams=((4, 0.3),))
    config = MinhashConfig(n_grams=3, num_buckets=16, hashes_per_bucket=8)

    def documents(texts: list[str]) -> Any:
        return (Document(text=text, id=str(number)) for number, text in enumerate(texts))

    def near_duplicates(texts: list[str]) -> int:
        root = tempfile.mkdtemp(dir=folder)
        signatures, buckets, clusters = (f"{root}/{stage}" for stage in ("signatures", "buckets", "clusters"))
        MinhashDedupSignature(signatures, config).run(documents(texts))
        for bucket in range(config.num_buckets):
            stage = MinhashDedupBuckets(signatures, buckets, config=config)
            stage.run(rank=bucket, world_size=config.num_buckets)
        MinhashDedupCluster(buckets, clusters, config=config).run()
        return sum(1 for _ in MinhashDedupFilter(clusters).run(documents(texts)))

    def through(block: Any) -> Callable[[list[str]], int]:
        return lambda texts: sum(1 for _ in block.run(documents(texts)))

    return {
        "length": through(length),
        "language": through(language),
        "repetition": through(repetition),
        "near_duplicates": near_duplicates,
    }


def data_juicer(model: str, folder: Path) -> Rules:
    """One operator on a dataset for each rule, in one process."""
    models = folder / "models"
    models.mkdir()
    (models / "lid.176.bin").symlink_to(Path(model).resolve())
    os.environ["DATA_JUICER_EXTERNAL_MODELS_HOME"] = str(models)
    os.environ["DATA_JUICER_CACHE_HOME"] = str(folder / "cache")

    import datasets
    from data_juicer.core.data import NestedDataset
    from data_juicer.ops.deduplicator.document_minhash_deduplicator import DocumentMinhashDeduplicator
    from data_juicer.ops.filter.language_id_score_filter import LanguageIDScoreFilter
    from data_juicer.ops.filter.word_repetition_filter import WordRepetitionFilter
    from data_juicer.ops.filter.words_num_filter import WordsNumFilter
    from loguru import logger

    logger.remove()
    datasets.disable_progress_bars()
    datasets.disable_caching()
    operators = {
        "length": WordsNumFilter(min_num=MIN_WORDS, max_num=MAX_WORDS, num_proc=1),
        "language": LanguageIDScoreFilter(lang="en", min_score=0.5, num_proc=1),
        "repetition": WordRepetitionFilter(rep_len=4, max_ratio=0.3, num_proc=1),
        "near_duplicates": DocumentMinhashDeduplicator(
            window_size=3, num_permutations=128, jaccard_threshold=0.8, num_proc=1
        ),
    }

    def through(operator: Any) -> Callable[[list[str]], int]:
        return lambda texts: len(operator.run(NestedDataset.from_dict({"text": texts})))

    return {name: through(operator) for name, operator in operators.items()}


if __name__ == "__main__":
    main()
