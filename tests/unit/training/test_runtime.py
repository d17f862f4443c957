from __future__ import annotations

import platform
import resource

import pytest
import torch

from ctfgan.training.runtime import keep_memory

SIZE = 64 * 2**20  # bytes; the C library would map as much anew each time


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_a_large_tensor_takes_the_pages_of_the_one_before_it() -> None:
    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(SIZE // 4)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    keep_memory()
    faults()
    assert faults() < SIZE // resource.getpagesize() // 10
