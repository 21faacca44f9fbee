"""What the audio thread does in a callback: no memory is asked for and no garbage left, and the meter would notice."""

import os
import resource
import threading

import numpy as np
import numpy.typing as npt
import pytest

from duende.engine import realtime
from duende.engine.chain import Chain
from duende.engine.params import ParameterBank
from duende.engine.realtime import BESIDE, raise_priority, work_beside
from duende.engine.shared import SharedState
from duende.engine.spectral import SpectralProcessor
from duende.engine.telemetry import Telemetry
from memory import Memory, measure
from models import tiny_model, tiny_weights
from processors import Gain
from signals import noise

Float32 = npt.NDArray[np.float32]

# Threads of the test runner would be measured too.
pytestmark = pytest.mark.alone

CALLS = 10_000


class Playing:
    """A chain in the middle of a piece, 128 frames a call."""

    def __init__(self, chain: Chain, samples: Float32) -> None:
        self.chain = chain
        self.blocks = list(samples.reshape(-1, 128, 1))
        self.out = np.empty((128, 1), dtype=np.float32)
        self.calls = 0
        chain.prepare(48000.0, 128, 128)
        for _ in range(200):
            self()

    def __call__(self) -> None:
        self.chain.process(self.blocks[self.calls % len(self.blocks)], self.out)
        self.calls += 1


def chain_of(*processors: SpectralProcessor | Gain) -> Chain:
    shared = SharedState()
    return Chain(
        ParameterBank(shared.pages[0]), Telemetry(shared), [(f"p{i}", one) for i, one in enumerate(processors)]
    )


# Views and numbers that live for a moment come to 3.4 kB, all from Python's own pool of small pieces.
TRANSIENT_BYTES = 4096
# What the interpreter keeps for itself once, whatever number of callbacks follow.
KEPT_BYTES = 6144


@pytest.fixture(scope="module")
def ten_thousand(tmp_path_factory: pytest.TempPathFactory) -> Memory:
    weights = tiny_weights(width=4, dilations=(1,), excitations=1, bands=8)
    model = tiny_model(tmp_path_factory.mktemp("model"), weights, excitations=("dry@1",), bands=8)
    samples = noise(np.random.default_rng(440), 128 * 100)
    return measure(Playing(chain_of(Gain(0.5), SpectralProcessor(model)), samples), CALLS)


def test_ten_thousand_callbacks_keep_nothing(ten_thousand: Memory) -> None:
    assert ten_thousand.kept_bytes < KEPT_BYTES
    assert ten_thousand.kept_array_bytes == 0
    assert ten_thousand.garbage == 0


def test_ten_thousand_callbacks_ask_for_no_array(ten_thousand: Memory) -> None:
    assert ten_thousand.transient_bytes < TRANSIENT_BYTES


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Memory:
    """All excitations, and a value that moves in every call."""
    model = tiny_model(tmp_path_factory.mktemp("model"), tiny_weights(width=4, dilations=(1,)))
    playing = Playing(chain_of(SpectralProcessor(model)), noise(np.random.default_rng(440), 128 * 100))
    bank = playing.chain.bank
    names = ["input/gain", "output/gain", "mix", "bypass", "amount", "slot/1/mix", "slot/1/bypass", "slot/1/amount"]
    values = {name: [bank.get(name), 0.5] for name in names}

    def call() -> None:
        turn = playing.calls
        if turn % 20 == 0:
            name = names[turn // 20 % len(names)]
            bank.set(name, values[name][turn // 160 % 2])
        playing()

    # Once through all names and both values: Python keeps some objects of each first time for reuse.
    for _ in range(400):
        call()
    return measure(call, 1000)


def test_values_on_the_move_keep_nothing(moving: Memory) -> None:
    assert moving.kept_bytes < KEPT_BYTES
    assert moving.kept_array_bytes == 0
    assert moving.garbage == 0


def test_values_on_the_move_ask_for_no_array(moving: Memory) -> None:
    assert moving.transient_bytes < TRANSIENT_BYTES


class Wasteful(Gain):
    """Allocates once, at one call in ten thousand."""

    def __init__(self, size: int, keep: bool) -> None:
        super().__init__(1.0)
        self._size, self._keep = size, keep
        self._at = 0
        self._kept: list[Float32] = []

    def process(self, block: Float32, out: Float32) -> None:
        super().process(block, out)
        self._at += 1
        if self._at == 5000:
            made = np.ones(self._size, dtype=np.float32)
            if self._keep:
                self._kept.append(made)


@pytest.mark.parametrize("keep", [False, True])
def test_the_meter_notices_one_array(keep: bool, rng: np.random.Generator) -> None:
    memory = measure(Playing(chain_of(Wasteful(2048, keep)), noise(rng, 128 * 10)), CALLS)
    assert memory.transient_bytes > TRANSIENT_BYTES
    assert memory.kept_array_bytes == (8192 if keep else 0)
    assert (memory.kept_bytes > KEPT_BYTES) is keep


def test_the_meter_notices_garbage() -> None:
    def call() -> None:
        ring: list[object] = []
        ring.append(ring)

    assert measure(call, 10).garbage >= 20


def test_a_thread_gets_the_priority_it_asks_for_and_never_less_than_it_has() -> None:
    def ask() -> None:
        for priority in (BESIDE, 3, 2):
            refused.append(raise_priority(priority))
            found.append(os.sched_getparam(0).sched_priority)

    refused: list[str | None] = []
    found: list[int] = []
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    if refused[0] is not None:
        pytest.skip("this system does not let a test have real-time priority")
    assert found == [BESIDE, 3, 3]


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_RTTIME"), reason="no limit for real-time priority here")
@pytest.mark.parametrize("limited", [False, True])
def test_work_beside_is_not_raised_where_the_system_ends_who_works_long(
    limited: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[int] = []
    limit = 200_000 if limited else resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))
    monkeypatch.setattr(realtime, "raise_priority", raised.append)
    work_beside()
    assert raised == ([] if limited else [BESIDE])


def test_a_thread_that_may_not_be_raised_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse, raising=False)
    assert "not allowed" in (raise_priority(BESIDE) or "")
