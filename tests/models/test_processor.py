"""Whether bf16 is fast is measured where instructions do not say it, once a machine."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from giellm_utils.models import processor


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Makes this processor one with or without AMX and AVX512-BF16; how often it was measured."""
    monkeypatch.setattr(processor, "cache_dir", lambda: tmp_path)
    measured = []

    def be(amx: bool, avx: bool, faster: bool = True) -> list[bool]:
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
        monkeypatch.setattr(processor, "_faster", lambda: measured.append(faster) or faster)
        processor.fast_in_bf16.cache_clear()
        return measured

    yield be
    processor.fast_in_bf16.cache_clear()


@pytest.mark.parametrize("amx, avx, fast", [(True, True, True), (False, False, False)])
def test_amx_is_fast_and_emulation_is_slow_unmeasured(machine, amx, avx, fast):
    measured = machine(amx, avx, faster=not fast)
    assert processor.fast_in_bf16() is fast and not measured


@pytest.mark.parametrize("faster", [True, False])
def test_what_was_measured_once_stays(machine, faster):
    measured = machine(False, True, faster)
    assert processor.fast_in_bf16() is faster and len(measured) == 1
    machine(False, True, not faster)
    assert processor.fast_in_bf16() is faster and len(measured) == 1, "the next start reads it"


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"{}"])
def test_a_broken_file_is_measured_again(machine, content):
    measured = machine(False, True)
    processor.fast_in_bf16()
    (file,) = (processor.cache_dir() / "processors").glob("*.json")
    file.write_bytes(content)
    machine(False, True, faster=False)
    assert processor.fast_in_bf16() is False and len(measured) == 2


def test_without_a_place_to_keep_it_it_is_measured_each_time(machine, tmp_path, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    (tmp_path / "file").write_text("not a folder")
    measured = machine(False, True)
    monkeypatch.setattr(processor, "cache_dir", lambda: tmp_path / "file")
    assert processor.fast_in_bf16() and len(measured) == 1
    processor.fast_in_bf16.cache_clear()
    monkeypatch.setattr(processor, "cache_dir", nowhere)
    assert processor.fast_in_bf16() and len(measured) == 2


def test_of_processes_that_start_together_one_measures(machine, monkeypatch):
    machine(False, True)
    verdicts = iter((True, False))
    monkeypatch.setattr(processor, "_faster", lambda: time.sleep(0.5) or next(verdicts))
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: processor._measured(), range(2))) == [True, True]


def test_threads_and_torch_are_part_of_what_was_measured(monkeypatch):
    name = processor._name()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert processor._name() != name and processor._name() == processor._name()


@pytest.mark.parametrize("slow", ["bfloat16", "float32"])
def test_the_faster_way_wins(slow, monkeypatch):
    """A clock that runs while a product of the slow type is made."""
    now, matmul = [0.0], torch.Tensor.__matmul__

    def timed(a, b):
        now[0] += 1.0 + (str(a.dtype) == f"torch.{slow}")
        return matmul(a, b)

    monkeypatch.setattr(torch.Tensor, "__matmul__", timed)
    monkeypatch.setattr(processor.time, "perf_counter", lambda: now[0])
    with torch.autocast("cpu", torch.bfloat16):
        assert processor._faster() is (slow == "float32")
