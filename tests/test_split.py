"""The split: where slots stand, delays made alike, the crossfader, and rigs with a split that follow each other."""

import numpy as np
import numpy.typing as npt
import pytest

import switching
from duende import DuendeError
from duende.engine.chain import Chain
from duende.engine.device import ArrayDevice
from duende.engine.host import Host
from duende.engine.params import ParameterBank
from duende.engine.preset import Rig, build_rig
from duende.engine.processor import Processor
from duende.engine.shared import SharedState
from duende.engine.split import layout, path_samples
from duende.engine.telemetry import Telemetry
from processors import Delay, Gain, Spring
from signals import click_dbfs, impulse, noise, tone
from switching import host_of

Float32 = npt.NDArray[np.float32]

RATE = 48000.0


def make_chain(*slots: tuple[str, Processor]) -> Chain:
    """A chain of (branch, processor), at rest."""
    shared = SharedState()
    named = [(f"p{place}", processor) for place, (_, processor) in enumerate(slots)]
    return Chain(ParameterBank(shared.pages[0]), Telemetry(shared), named, [branch for branch, _ in slots])


def run(chain: Chain, samples: Float32, block: int) -> Float32:
    out = np.zeros((len(samples), 1), dtype=np.float32)
    for start in range(0, len(samples), block):
        part = samples[start : start + block, None]
        chain.process(part, out[start : start + len(part)])
    return out[:, 0]


@pytest.mark.parametrize(
    ("branches", "parts"),
    [
        ([], ((), (), (), ())),
        (["", ""], ((0, 1), (), (), ())),
        (["", "a", "b", "a", ""], ((0,), (1, 3), (2,), (4,))),
        (["b"], ((), (), (0,), ())),
    ],
)
def test_places(branches: list[str], parts: tuple[tuple[int, ...], ...]) -> None:
    found = layout(branches)
    assert (found.before, found.a, found.b, found.after) == parts
    assert found.splits is ("a" in branches or "b" in branches)


@pytest.mark.parametrize(
    ("branches", "words"),
    [
        (["a", "", "b"], "slot 2 stands in the trunk, but between slots of a split, and a chain has one split: put it"),
        (["a", "left"], "slot 2: branch 'left': write a or b"),
    ],
)
def test_what_is_no_single_split_is_refused(branches: list[str], words: str) -> None:
    with pytest.raises(DuendeError, match=words):
        make_chain(*((branch, Gain()) for branch in branches))


def test_the_longest_way_counts() -> None:
    assert path_samples([1, 10, 300, 20, 4000], ["", "a", "b", "a", ""]) == 4301
    assert path_samples([1, 10], []) == 11


@pytest.mark.parametrize("block", [64, 100, 480])
@pytest.mark.parametrize("balance", [0.0, 0.3, 1.0])
def test_branches_end_at_the_same_time(block: int, balance: float) -> None:
    chain = make_chain(
        ("", Delay(7)), ("a", Delay(5, quantum=32)), ("b", Delay(90)), ("a", Delay(8)), ("", Delay(3, 0.5))
    )
    chain.bank.set("split/balance", balance)
    chain.prepare(RATE, block, block)
    assert chain.latency.samples == 7 + 90 + 3 + chain.latency.reblocking
    got = run(chain, impulse(4800, at=100, level=0.5), block)
    assert np.abs(got - impulse(4800, at=100 + chain.latency.samples, level=0.25)).max() <= 1e-7


def test_the_crossfader_goes_from_a_to_b_in_a_straight_line() -> None:
    for balance, wanted in ((0.0, 0.1), (0.25, 0.2), (0.5, 0.3), (1.0, 0.5)):
        chain = make_chain(("a", Gain(0.2)), ("b", Gain(1.0)))
        chain.bank.set("split/balance", balance)
        chain.prepare(RATE, 64, 64)
        assert run(chain, np.full(640, 0.5, dtype=np.float32), 64)[-1] == pytest.approx(wanted)


def test_an_empty_branch_is_a_wire(rng: np.random.Generator) -> None:
    samples = noise(rng, 9600, level_dbfs=-20.0)
    chain = make_chain(("a", Delay(50, 0.0)))
    chain.bank.set("split/balance", 1.0)
    chain.prepare(RATE, 64, 64)
    assert np.array_equal(run(chain, samples, 64)[50:], samples[:-50])


@pytest.mark.parametrize("block", [64, 480])
def test_identical_branches_are_as_loud_wherever_the_fader_is(block: int, rng: np.random.Generator) -> None:
    samples = noise(rng, 48_000, level_dbfs=-20.0)
    chain = make_chain(("a", Delay(5, 0.5)), ("b", Delay(5, 0.5)))
    chain.prepare(RATE, block, block)
    got = []
    for number, part in enumerate(np.split(samples, 10)):
        chain.bank.set("split/balance", number % 3 / 2.0)
        got.append(run(chain, part, block))
    assert np.array_equal(np.concatenate(got)[5:], np.float32(0.5) * samples[:-5])


@pytest.mark.parametrize("block", [64, 480])
def test_the_crossfader_makes_no_click(block: int) -> None:
    chain = make_chain(("a", Gain(1.0)), ("b", Delay(30, -0.7)))
    chain.bank.set("split/balance", 0.0)
    chain.prepare(RATE, block, block)
    samples = tone(100.0, 48_000)
    got = [run(chain, samples[:24_000], block)]
    chain.bank.set("split/balance", 1.0)
    got.append(run(chain, samples[24_000:], block))
    assert max(click_dbfs(np.concatenate(got), 24_000)) <= -60.0


def test_bypass_of_a_split_is_the_delayed_input(rng: np.random.Generator) -> None:
    samples = noise(rng, 9600, level_dbfs=-20.0)
    chain = make_chain(("a", Delay(30, 0.5)), ("b", Gain(3.0)))
    chain.bank.set("bypass", 1.0)
    chain.prepare(RATE, 64, 64)
    assert np.array_equal(run(chain, samples, 64)[30:], samples[:-30])


BLOCK = 64
PLACES = {
    "before": (["", "", "a", "b", ""], 1),
    "a": (["", "a", "b", "a", ""], 3),
    "b": (["", "a", "b", "b", ""], 3),
    "after": (["", "a", "b", "", ""], 3),
}


def split_rig(spring: str, page: int, shared: SharedState) -> Rig:
    """A delay of 40 in one branch, and a long echo before, in or after the split; default values."""
    branches, place = PLACES[spring]
    row: list[Processor] = [Gain(0.5), Gain(), Delay(40, -0.5), Gain(), Gain()]
    row[place] = Spring(9600)
    rig = build_rig([(f"p{n}", one) for n, one in enumerate(row)], shared, page, branches)
    for parameter in rig.bank.table.rows():
        rig.bank.set(parameter.name, parameter.default)
    return rig


def play(spring: str, samples: Float32, switch_at: int | None) -> Float32:
    """Samples through such a rig, which another one like it replaces at a block."""
    shared = SharedState()
    host = host_of(split_rig(spring, 0, shared), BLOCK)

    def switch(number: int) -> None:
        if number == switch_at:
            assert host.switch(split_rig(spring, 1, shared))

    heard = switching.play(host, samples, BLOCK, switch)
    assert not host.ringing
    return heard


@pytest.mark.parametrize("spring", PLACES)
def test_a_split_replaced_by_itself_is_not_heard(spring: str) -> None:
    """Wherever the tail is: the doors of both rigs let in the whole input together."""
    samples = noise(np.random.default_rng(8), 64_000, level_dbfs=-30.0)
    wanted, got = play(spring, samples, None), play(spring, samples, 500)
    assert np.abs(wanted - got).max() <= 1e-6


def test_parts_of_the_delay_add_up() -> None:
    host = Host(split_rig("after", 0, SharedState()), ArrayDevice(np.zeros((64, 1), dtype=np.float32), RATE, 64))
    report = host.latency()
    assert report.added_samples == 40
    assert report.parallel_ms == 0.0
    row: list[tuple[str, Processor]] = [("a", Delay(48)), ("b", Delay(96))]
    rig = build_rig(row, branches=["a", "b"])
    report = Host(rig, ArrayDevice(np.zeros((64, 1), dtype=np.float32), RATE, 64)).latency()
    assert report.added_samples == 96
    assert ("at the same time, in the other branch", "-1.00 ms") in report.lines()
    assert ("added by duende", "2.00 ms (96 samples)") in report.lines()
