"""TRL trains the demo VLM from a published tag, with nothing of ours in between. Slow: imports TRL, trains."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from exports.address import parse_address
from exports.publish import publish
from tests.hub.server import LocalHub
from tests.releases import build, rows, with_sft

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("trl") is None, reason="needs TRL: pip install 'caption-factory[train]'"
    ),
]
CAPTION = "A red circle is above <image> a blue square"


@pytest.mark.parametrize("mode", ["lfs"])
@pytest.mark.parametrize("how", ["map", "streaming"])
def test_trl_trains_from_the_tag_on_the_caption_tokens_alone(
    hub: LocalHub, tmp_path: Path, mode: str, how: str
) -> None:
    release = with_sft(build(tmp_path / "birds", content=rows(8, CAPTION)), tmp_path)
    publish(release, parse_address("hub:org/birds"), endpoint=hub.url)
    done = subprocess.run(
        [sys.executable, "-m", "tests.hub.train_with_trl", "org/birds", "v1.0.0", how, str(tmp_path / "out")],
        env={**os.environ, **hub.environment(tmp_path / "home", xet=False)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["steps"] == 2
    assert len(told["losses"]) == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in told["losses"])
    assert told["changed"] > told["weights"] // 2
    captions = {f"A red circle is above < image> a blue square {number}" for number in range(8)}
    for learned, inputs in zip(told["learned"], told["inputs"], strict=True):
        assert learned.removesuffix("\n").removesuffix("<end_of_utterance>").strip() in captions
        assert inputs.count("<image>") == 16
        assert "Describe" in inputs
    assert told["pixels"][:2] == [4, 1]
