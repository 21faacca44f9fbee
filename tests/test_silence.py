"""No processor leaves denormal numbers behind on a thread that flushes them, nor turns the flushing off.

Not timed: bench/silence.py does that. Sound at -600 dB, as a long tail reaches it in the end, and then silence.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from duende.engine.denormals import flush_denormals, flushes
from duende.engine.processor import Processor, StreamSpec
from duende.engine.waveform import WaveformProcessor
from duende.engine.waveform_model import open_waveform
from duende.export.captures.graph import convert
from networks import FEATURES
from signals import noise
from test_all_processors import NAMES, Stock, stock

Float32 = npt.NDArray[np.float32]

QUANTUM, QUANTA = 128, 60
SMALLEST = np.finfo(np.float32).tiny
ARCHITECTURES = ("plain", "gated", "lstm", "gru and knob", "mixed", "linear")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    return stock(tmp_path_factory.mktemp("stock"), plain=False)


def died_away(make: Callable[[], Processor], rng: np.random.Generator, *, flush: bool = True) -> tuple[int, bool]:
    """How many denormal numbers came out of a processor, and whether its thread flushed to the end."""
    found: list[tuple[int, bool]] = []
    faint = (noise(rng, 20 * QUANTUM) * np.float32(1e-30)).astype(np.float32)
    # On its way out: the input falls through the denormals, too.
    fading = faint[:, None] * np.geomspace(1.0, 1e-15, len(faint), dtype=np.float64)[:, None].astype(np.float32)

    def run() -> None:
        if flush and not flush_denormals():
            return
        processor = make()
        processor.prepare(StreamSpec(48000.0, 1, QUANTUM))
        out = np.zeros((QUANTUM, 1), dtype=np.float32)
        bits = out.view(np.int32)
        count, still = 0, True
        for place in range(QUANTA):
            block = fading[place * QUANTUM : (place + 1) * QUANTUM] if place < 20 else np.zeros_like(out)
            processor.process(block, out)
            # By bits: a thread that flushes takes a denormal for zero.
            size = bits & 0x7FFFFFFF
            count += int(np.count_nonzero((size > 0) & (size < SMALLEST.view(np.int32))))
            still = still and flushes()
        found.append((count, still))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not found:
        pytest.skip("this platform offers no way to flush")
    return found[0]


@pytest.mark.fx
@pytest.mark.parametrize("name", NAMES)
def test_whatever_stands_in_a_slot_leaves_no_denormals(shelf: Stock, name: str, rng: np.random.Generator) -> None:
    count, still = died_away(lambda: shelf.make(name), rng)
    assert still, "it has switched flushing off on the callback's thread"
    assert count == 0


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_capture_leaves_denormals(tmp_path: Path, name: str, rng: np.random.Generator) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(convert(FEATURES[name]()))
    model = open_waveform(path)
    count, still = died_away(lambda: WaveformProcessor(model), rng)
    assert still
    assert count == 0


def test_without_flushing_there_would_be_some(rng: np.random.Generator) -> None:
    class Halves:
        """Hands on half of what comes."""

        def prepare(self, spec: StreamSpec) -> None: ...

        def process(self, block: Float32, out: Float32) -> None:
            np.multiply(block, np.float32(0.5), out=out)

    made: Any = Halves
    assert died_away(made, rng, flush=False)[0] > 0
    assert died_away(made, rng)[0] == 0
