"""Device, precision and memory are chosen with a reason that the owner can read."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import EngineUnavailable
from models.free_memory import available_memory
from models.runtime import (
    GIGABYTE,
    Machine,
    ModelNeeds,
    choose,
    demand_fit,
    free_memory,
    packed_precisions,
    plans,
    this_machine,
)
from ui.owner_sentences import in_language


def machine(device: str = "cpu", free: int = 8 * GIGABYTE, bfloat16: bool = True) -> Machine:
    return Machine(device, "a device", free, bfloat16, 4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("device", "bfloat16", "packed", "expected"),
    [
        ("cuda", True, True, "bfloat16"),
        ("cuda", False, False, "float16"),
        ("mps", True, False, "bfloat16"),
        ("cpu", True, False, "bfloat16"),
        ("cpu", False, False, "float32"),
        ("cpu", False, True, "int4"),
    ],
)
def test_precision_suits_the_device(device: str, bfloat16: bool, packed: bool, expected: str) -> None:
    choice = choose(machine(device, bfloat16=bfloat16), 10**8, packed_kernels=packed)
    assert choice.device == device
    assert choice.precision == expected
    assert "because" in choice.reason
    assert choice.reason.endswith(".")


def test_a_model_that_is_too_big_does_not_fit() -> None:
    assert choose(machine(free=4 * GIGABYTE), 10**9).fits
    assert not choose(machine(free=2 * GIGABYTE), 10**9).fits


def test_this_machine_has_cores_and_memory() -> None:
    here = this_machine()
    assert here.cores >= 1
    assert here.free_bytes > 50 << 20
    assert choose(here, 1000).fits


BOTH = ("int8", "int4")
EIGHT_BILLION = ModelNeeds(8_000_000_000, 131072, 32768)  # 14.9 GiB in 16 bits
TWO_BILLION = ModelNeeds(2_000_000_000, 65536, 32768)


def computer(gpu: float | None, memory: float, packed: tuple = BOTH, bfloat16: bool = True) -> Machine:
    """A computer with so many GiB free on its GPU and in its memory."""
    processor = Machine("cpu", "AVX512", int(memory * GIGABYTE), True, 8, packed)
    if gpu is None:
        return processor
    return Machine("cuda", "RTX", int(gpu * GIGABYTE), bfloat16, 8, packed, (processor,))


def order(found) -> list[str]:
    return [f"{c.device} {c.precision}{'' if c.fits else ' -'}" for c in found]


@pytest.mark.parametrize(
    ("here", "device", "precision", "expected"),
    [
        (computer(24, 32), "auto", "auto", "cuda bfloat16, cuda int8, cuda int4, cpu int8, cpu int4"),
        (computer(12, 32), "auto", "auto", "cuda int8, cuda int4, cpu int8, cpu int4, cuda bfloat16 -"),
        (computer(24, 32, bfloat16=False), "auto", "auto", "cuda float16, cuda int8, cuda int4, cpu int8, cpu int4"),
        (computer(24, 32, packed=()), "auto", "auto", "cuda bfloat16, cpu bfloat16"),
        (computer(None, 32), "auto", "auto", "cpu int8, cpu int4"),
        (computer(24, 32), "cpu", "auto", "cpu int8, cpu int4, cuda bfloat16, cuda int8, cuda int4"),
        (computer(24, 32), "auto", "int4", "cuda int4, cpu int4, cuda bfloat16, cuda int8, cpu int8"),
        (computer(64, 64), "cuda", "float32", "cuda float32, cuda bfloat16, cuda int8, cuda int4, "
         "cpu float32, cpu int8, cpu int4"),
        # 8 bits for the GPU are packed in the computer's memory first: there they have no room
        (computer(12, 10), "auto", "auto", "cuda int4, cpu int4, cuda bfloat16 -, cpu int8 -"),
    ],
)  # fmt: skip
def test_every_way_to_run_is_planned_the_best_first(here, device, precision, expected) -> None:
    found = plans(here, EIGHT_BILLION, device=device, precision=precision)
    assert ", ".join(order(found)) == expected
    for choice in found:
        assert choice.fits == (choice.needed_bytes <= choice.free_bytes)
        assert "because" in choice.reason
        assert f"{choice.needed_bytes / GIGABYTE:.1f} GB of {choice.free_bytes / GIGABYTE:.1f} GB free" in choice.reason


def test_a_wish_that_cannot_be_is_refused_with_what_can() -> None:
    with pytest.raises(EngineUnavailable, match="no device 'mps'") as caught:
        plans(computer(24, 32), TWO_BILLION, device="mps")
    assert caught.value.remedy == "Choose the device auto, or one of: cuda, cpu."
    with pytest.raises(EngineUnavailable, match="cannot compute with int4 weights on the device cuda"):
        plans(computer(24, 32, packed=("int8",)), TWO_BILLION, device="cuda", precision="int4")


def test_what_does_not_fit_is_refused_before_it_is_loaded_with_what_fits() -> None:
    demand_fit(plans(computer(12, 32), EIGHT_BILLION), "hf:a/b", ["hf:c/d"])
    tight = plans(computer(2, 3), EIGHT_BILLION)
    with pytest.raises(EngineUnavailable) as caught:
        demand_fit(tight, "hf:a/b", ["hf:c/d", "glimpse"])
    assert caught.value.message.startswith("hf:a/b does not fit: with int4 weights it needs about ")
    assert caught.value.message.endswith("2.0 GB are free on the GPU.")
    assert caught.value.remedy == "These fit: hf:c/d, glimpse."
    with pytest.raises(EngineUnavailable, match="choose a smaller model"):
        demand_fit(tight, "hf:a/b")
    wished = plans(computer(12, 32), EIGHT_BILLION, precision="bfloat16", device="cuda")
    with pytest.raises(EngineUnavailable) as caught:
        demand_fit(wished, "hf:a/b")
    assert "with bfloat16 weights" in caught.value.message
    assert caught.value.remedy == "These fit: hf:a/b with --device cuda --precision int8."


def test_what_the_owner_reads_about_memory_is_there_in_chinese() -> None:
    said = [c.reason for here in (computer(24, 32), computer(24, 32, bfloat16=False), computer(None, 32, packed=()))
            for c in plans(here, TWO_BILLION)]  # fmt: skip
    said += [c.reason for c in plans(computer(24, 32), TWO_BILLION, precision="float32")]
    for work in (
        lambda: plans(computer(24, 32), TWO_BILLION, device="mps"),
        lambda: plans(computer(24, 32, packed=()), TWO_BILLION, precision="int4"),
        lambda: plans(computer(24, 32, packed=()), TWO_BILLION, precision="int4", device="cpu"),
        lambda: demand_fit(plans(computer(2, 3), EIGHT_BILLION), "hf:a/b", ["hf:c/d"]),
        lambda: demand_fit(plans(computer(None, 3), EIGHT_BILLION), "hf:a/b"),
    ):
        with pytest.raises(EngineUnavailable) as caught:
            work()
        said += [caught.value.message, caught.value.remedy]
    assert [s for s in said if in_language(s, "zh") == s] == []


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = "MemTotal: 8000 kB\nMemAvailable: 6000 kB\n"


@pytest.mark.parametrize(
    ("files", "kilobytes"),
    [
        ({}, 6000),
        # version 2: 4096 kB may be used, 3072 are, of which 1024 are files that can go
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "4194304\n",
          "sys/fs/cgroup/a/memory.current": "3145728\n",
          "sys/fs/cgroup/a/memory.stat": "anon 1\ninactive_file 1048576\n",
          "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "1\n"}, 2048),
        # version 1, seen from inside the container: the path is the host's
        ({"proc/self/cgroup": "9:cpu:/\n4:memory:/docker/1\n",
          "sys/fs/cgroup/memory/memory.limit_in_bytes": "2097152\n",
          "sys/fs/cgroup/memory/memory.usage_in_bytes": "1048576\n"}, 1024),
        ({"proc/self/cgroup": "4:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
          "sys/fs/cgroup/memory/memory.usage_in_bytes": "1048576\n"}, 6000),
        # more in use than allowed, for a moment
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1000\n",
          "sys/fs/cgroup/memory.current": "2000\n"}, 0),
    ],
)  # fmt: skip
def test_a_container_may_use_less_than_the_machine_has(tmp_path, files, kilobytes) -> None:
    assert available_memory(written(tmp_path, {"proc/meminfo": MEMINFO, **files})) == kilobytes * 1024


def test_this_processor_has_packed_kernels_and_memory() -> None:
    assert set(packed_precisions("cpu")) <= {"int8", "int4"}
    here = this_machine()
    assert (here, *here.others)[-1].device == "cpu"
    assert 0 < free_memory("cpu") <= 1 << 50


@pytest.mark.gpu
def test_a_gpu_is_taken_when_there_is_one() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    assert this_machine().device == "cuda"
