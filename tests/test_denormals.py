"""Flush-to-zero on the thread that asks for it, and silence that costs no more than sound."""

import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from duende.engine.denormals import flush_denormals, flushes
from duende.engine.processor import StreamSpec
from duende.engine.spectral import SpectralProcessor
from models import tiny_model
from signals import noise

# In a process of its own: there nobody, such as ONNX Runtime, has set the mode on the main thread before.
THREADS = """
import sys
import threading
import numpy as np
from duende.engine.denormals import flush_denormals, flushes

tiny, small = np.float32(1e-40), np.full(4, 1e-3, dtype=np.float32)
seen = []

def on_thread():
    seen.append(flushes())
    seen.append(flush_denormals())
    seen.append(flushes())
    seen.append(int((small * np.float32(1.2e-38)).view(np.uint32).max()) == 0)
    seen.append(float((np.full(4, tiny) * np.float32(2.0)).max()) == 0.0)

thread = threading.Thread(target=on_thread)
thread.start()
thread.join()
fresh = []
other = threading.Thread(target=lambda: fresh.append(flushes()))
other.start()
other.join()
print(*(int(value) for value in (*seen, flushes(), *fresh)))
"""


def test_a_fresh_thread_flushes_from_then_on_and_only_it() -> None:
    result = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, check=True)
    before, answer, after, results, inputs, main, other = (value == "1" for value in result.stdout.split())
    if before:
        pytest.skip("this platform starts its threads flushing")
    if platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"):
        pytest.skip("this processor is not one of those that the engine knows")
    assert answer
    assert after
    assert results, "a denormal result stays"
    assert inputs, "a denormal operand is used"
    assert not main
    assert not other


def silence_over_sound(processor: SpectralProcessor, rng: np.random.Generator) -> float:
    """Median time of a hop in the silence after sound over that in sound; long enough for all states to decay."""
    hops, size = 400, processor.quantum
    sound = noise(rng, hops * size).reshape(hops, size, 1)
    silence, out = np.zeros((size, 1), dtype=np.float32), np.empty((size, 1), dtype=np.float32)
    medians = []
    for part in (sound, [silence] * hops):
        times = []
        for block in part:
            start = time.perf_counter()
            processor.process(block, out)
            times.append(time.perf_counter() - start)
        medians.append(float(np.median(times)))
    return medians[1] / medians[0]


def test_silence_after_sound_costs_no_more_than_sound(tmp_path: Path, rng: np.random.Generator) -> None:
    # A ratio within one run; the best of several, because other programs only ever make it worse by chance.
    if not flushes() and not flush_denormals():
        pytest.skip("this platform offers no way to flush")
    processor = SpectralProcessor(tiny_model(tmp_path))
    processor.prepare(StreamSpec(48000.0, 1, processor.quantum))
    ratios = []
    for _ in range(5):
        ratios.append(silence_over_sound(processor, rng))
        if ratios[-1] <= 1.5:
            return
    pytest.fail(f"silence over sound: {ratios}")
