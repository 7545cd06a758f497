"""Device, precision and memory are chosen with a reason that the owner can read."""

from __future__ import annotations

import pytest

from models.runtime import GIGABYTE, Machine, choose, this_machine


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
        ("cpu", False, True, "int8"),
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


@pytest.mark.gpu
def test_a_gpu_is_taken_when_there_is_one() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    assert this_machine().device == "cuda"
