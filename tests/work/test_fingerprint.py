"""Fingerprints: the same in every process, and changed by exactly what changes the work."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from factory.recipe import View
from factory.work.fingerprint import caption_fingerprint, filter_fingerprint, fingerprint, image_fingerprint
from filters import Length, build


def view(**changes: Any) -> View:
    base: dict[str, Any] = {"name": "self", "model": "demo:small", "prompts": [{"text": "A?"}, {"text": "B?"}]}
    return View.model_validate({**base, **changes})


def prints(one: View, seed: int = 1, model: str = "m") -> list[str]:
    return [caption_fingerprint(one, prompt, seed, model) for prompt in one.prompts]


def test_a_fingerprint_is_the_same_in_another_process() -> None:
    code = (
        "from factory.work.fingerprint import fingerprint; print(fingerprint('x', {'b': 1.5, 'a': ['ü', None, True]}))"
    )
    answers = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    assert answers == {fingerprint("x", {"a": ["ü", None, True], "b": 1.5}) + "\n"}


def test_a_changed_prompt_changes_only_the_rows_that_drew_it() -> None:
    before, after = prints(view()), prints(view(prompts=[{"text": "A?"}, {"text": "C?"}]))
    assert before[0] == after[0]
    assert before[1] != after[1]


@pytest.mark.parametrize(
    "changes",
    [
        {"sampling": {"temperature": 0.3}},
        {"sampling": {"max_tokens": 7}},
        {"image": {"max_pixels": 4096}},
        {"system": "Be brief."},
        {"engine": {"max_model_len": 512}},
        {"engine": {"dtype": "float32"}},
        {"chat_template": {"enable_thinking": False}},
        {"reasoning": "none"},
        {"sampling": {"presence_penalty": 0.5}},
        {"sampling": {"min_tokens": 4}},
        {"sampling": {"stop_token_ids": [3]}},
    ],
)
def test_what_shapes_a_caption_changes_its_fingerprint(changes: dict[str, Any]) -> None:
    assert prints(view()) != prints(view(**changes))


def test_model_and_where_it_samples_seed_change_the_fingerprint() -> None:
    sampled = view(sampling={"temperature": 0.5})
    assert len({prints(sampled)[0], prints(sampled, seed=2)[0], prints(sampled, model="n")[0]}) == 3
    assert prints(view()) == prints(view(), seed=2)  # greedy: nothing is drawn


@pytest.mark.parametrize(
    "changes",
    [
        {"replicas": 2},
        {"timeout_s": 5},
        {"canary": False},
        {"engine": {"gpu_memory_utilization": 0.5}},
        {"engine": {"max_num_seqs": 8}},
        {"engine": {"performance_mode": "throughput", "mm_encoder_tp_mode": "data", "mm_tensor_ipc": "torch_shm"}},
        {"sampling": {"presence_penalty": 0.0, "min_tokens": 0, "stop_token_ids": []}},
    ],
)
def test_what_only_changes_speed_or_safety_does_not(changes: dict[str, Any]) -> None:
    assert prints(view()) == prints(view(**changes))


def test_the_image_part_depends_on_image_settings_alone() -> None:
    assert image_fingerprint(view()) == image_fingerprint(view(sampling={"max_tokens": 3}))
    assert image_fingerprint(view()) != image_fingerprint(view(image={"min_side": 20}))


def test_filter_parameters_change_the_filter_fingerprint() -> None:
    assert filter_fingerprint(Length()) != filter_fingerprint(Length(min_words=9))


def test_content_that_is_no_json_is_refused_rather_than_hashed_by_chance() -> None:
    with pytest.raises(TypeError):
        fingerprint("x", {"a": object()})
    with pytest.raises(ValueError, match="JSON compliant"):
        fingerprint("x", float("nan"))


def test_how_long_a_server_is_waited_for_changes_no_scores() -> None:
    def scored_by(**judge: object) -> str:
        asked = {"judge": {"endpoint": "http://localhost:8000/v1", "model": "one"} | judge}
        return filter_fingerprint(build("vqa_faithfulness", asked))

    assert scored_by() == scored_by(timeout_s=5, retries=0)
    assert scored_by() != scored_by(model="two")
    assert filter_fingerprint(build("vqa_faithfulness", {})) != scored_by()
