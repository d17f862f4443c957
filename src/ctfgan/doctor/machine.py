"""The machine: system, memory, processors and GPUs, and what ``--device auto`` makes of them."""

from __future__ import annotations

import locale
import os
import platform
import shutil
from collections.abc import Iterator

from ctfgan.core.text import format_bytes, plural
from ctfgan.distributed.devices import usable_processors
from ctfgan.doctor.findings import Finding, reason

LITTLE_MEMORY = 2 << 30


def system() -> Iterator[Finding]:
    """Operating system, Python, processors, memory, encoding."""
    import psutil

    if platform.system() == "Windows":
        yield Finding("warn", "system", platform.platform(), "nothing is tested on Windows; use Linux, macOS or WSL")
    else:
        yield Finding("ok", "system", platform.platform())
    yield Finding("ok", "Python", f"{platform.python_version()} ({platform.python_implementation()})")
    yield Finding("ok", "processors", f"{usable_processors()} of {os.cpu_count()} usable by this process")
    memory = psutil.virtual_memory()
    text = f"{format_bytes(memory.available)} of {format_bytes(memory.total)} free"
    if memory.available < LITTLE_MEMORY:
        yield Finding("warn", "memory", text, "close other programs, or choose smaller batches (--dry-run estimates)")
    else:
        yield Finding("ok", "memory", text)
    encoding = locale.getencoding()
    if encoding.lower().replace("-", "") == "utf8":
        yield Finding("ok", "encoding", encoding)
    else:
        yield Finding("warn", "encoding", encoding, "set PYTHONUTF8=1, or names such as 一 are shown as numbers")


def devices() -> Iterator[Finding]:
    """Every device that torch can compute on, after it has computed something."""
    try:
        import torch
    except Exception as error:  # a broken build raises OSError as well as ImportError
        yield Finding(
            "fail", "torch", f"cannot be imported ({reason(error)})", "install it again with 'pip install -c "
            "constraints.txt --force-reinstall torch'",
        )  # fmt: skip
        return
    yield Finding("ok", "torch", f"{torch.__version__}, built for CUDA {torch.version.cuda or 'never (CPU only)'}")
    yield _threads(torch.get_num_threads())
    for number in range(torch.cuda.device_count()):
        yield _gpu(number)
    if torch.cuda.device_count() == 0 and shutil.which("nvidia-smi"):
        build = (
            "sees none of them; update the driver"
            if torch.version.cuda
            else "is built for CPUs; install its CUDA build"
        )
        yield Finding("warn", "CUDA", "this machine has NVIDIA's tools, but torch finds no GPU", f"torch {build}")
    if torch.backends.mps.is_available():
        yield _computed("MPS", "mps", "Apple GPU")

    from ctfgan.distributed.engine import choose_device

    chosen = choose_device("auto")
    why = {"cuda": "CUDA comes first", "mps": "no CUDA, and MPS comes next", "cpu": "neither CUDA nor MPS is here"}
    yield Finding("ok", "--device auto", f"takes {chosen} ({why[chosen.type]})")


def _threads(threads: int) -> Finding:
    usable, given = usable_processors(), os.environ.get("OMP_NUM_THREADS")
    text = f"{plural(threads, 'thread')} (OMP_NUM_THREADS {'is ' + given if given else 'is not set'})"
    if threads > usable:
        return Finding("warn", "CPU", text, f"set OMP_NUM_THREADS={usable}: more threads than processors are slow")
    if given is not None and threads * 2 <= usable and threads < 4:
        return Finding("warn", "CPU", text, f"unset OMP_NUM_THREADS to train on all {usable} processors")
    return Finding("ok", "CPU", text)


def _gpu(number: int) -> Finding:
    import torch

    with torch.cuda.device(number):
        free, total = torch.cuda.mem_get_info(number)
        bfloat16 = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no bfloat16"
    name = f"{torch.cuda.get_device_name(number)}, {format_bytes(free)} of {format_bytes(total)} free, {bfloat16}"
    return _computed(f"CUDA {number}", f"cuda:{number}", name)


def _computed(name: str, device: str, detail: str) -> Finding:
    """Whether a device adds up: a driver that does not fit shows only when something is computed."""
    import torch

    try:
        total = torch.ones(64, 64, device=device).matmul(torch.ones(64, 64, device=device)).sum().item()
    except RuntimeError as error:
        remedy = "install the torch build and the driver that fit together, or use --device cpu"
        return Finding("fail", name, f"{detail}; cannot compute ({reason(error)})", remedy)
    if total != 64**3:
        return Finding("fail", name, f"{detail}; computes {total} instead of {64**3}", "use --device cpu")
    return Finding("ok", name, detail)
