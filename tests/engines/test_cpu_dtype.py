"""What an engine computes with is chosen by the processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory.engines.vllm_engine import cpu_dtype


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("model name\t: A laptop\nflags\t\t: fpu sse4_2 avx2 fma\n", "float32"),
        ("flags\t\t: avx2 avx512f avx512_bf16 amx_tile\n", "auto"),
        ("flags\t\t: avx2 avx512f amx_bf16\n", "auto"),
        ("Features\t: fp asimd sve\n", "float32"),
        ("Features\t: fp asimd sve bf16 i8mm\n", "auto"),
        ("hart\t: 0\nisa\t: rv64imafdc\n", "auto"),
    ],
)
def test_bfloat16_is_computed_only_where_the_processor_has_units_for_it(
    tmp_path: Path, cpuinfo: str, expected: str
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(cpuinfo)
    assert cpu_dtype(file) == expected


def test_where_nothing_is_known_of_the_processor_the_stored_type_stays(tmp_path: Path) -> None:
    assert cpu_dtype(tmp_path / "none") == "auto"
