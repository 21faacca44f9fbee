"""Flush-to-zero: numbers too small to hear must not make the processor a hundred times slower.

The mode belongs to a thread, so the audio callback sets it for itself. The C library's `fesetenv` loads the whole
floating-point environment, control register included (ISO C 7.6; glibc `fenv.h`, Apple `fenv.h`).
"""

import ctypes
import functools
import platform
import sys
from typing import Any

import numpy as np

_Environment = ctypes.c_uint8 * 64
_LIBRARIES = {"linux": "libm.so.6", "darwin": "libSystem.dylib", "win32": "ucrtbase"}
# Just above the smallest normal number, 1.18e-38: operands are normal, only their product is not.
_TINY = np.float32(1.2e-38)
_SMALL = np.full(1, 1e-3, dtype=np.float32)


def flushes() -> bool:
    """Whether the calling thread turns denormal results into zero."""
    product = np.multiply(_SMALL, _TINY)
    # Bits, because a thread that takes denormal operands for zero would also read a denormal result as zero.
    return int(product.view(np.uint32)[0]) == 0


def flush_denormals() -> bool:
    """Set flush-to-zero for the calling thread; False where this system offers no way.

    The first call of a program loads the C library: let a control thread make it before an audio thread does.
    """
    machine = platform.machine().lower()
    try:
        if sys.platform == "win32":
            return _set_windows()
        library = _library()
        environment = _Environment()
        if library.fegetenv(ctypes.byref(environment)) != 0:
            return False
        if machine in ("x86_64", "amd64", "i686"):
            # x87 state first; MXCSR stands at byte 28 on Linux and at byte 4 on macOS. Bits: FTZ 15, DAZ 6.
            offset = 4 if sys.platform == "darwin" else 28
            register = ctypes.c_uint32.from_buffer(environment, offset)
            register.value |= 0x8040
        elif machine in ("aarch64", "arm64"):
            # glibc keeps FPCR first, Apple FPSR first and both 64 bits wide. Bit 24 flushes.
            if sys.platform == "darwin":
                wide = ctypes.c_uint64.from_buffer(environment, 8)
                wide.value |= 1 << 24
            else:
                narrow = ctypes.c_uint32.from_buffer(environment, 0)
                narrow.value |= 1 << 24
        else:
            return False
        library.fesetenv(ctypes.byref(environment))
    except (OSError, AttributeError):
        return False
    return flushes()


@functools.cache
def _library() -> Any:
    return ctypes.CDLL(_LIBRARIES.get(sys.platform, "libm.so.6"))


def _set_windows() -> bool:
    runtime = _library()
    current = ctypes.c_uint()
    denormal_flush, denormal_mask = 0x01000000, 0x03000000
    runtime._controlfp_s(ctypes.byref(current), denormal_flush, denormal_mask)
    return flushes()
