"""What holds for every chain, tried on random ones: delays, bypass, block sizes, changes without clicks, no memory."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from duende.engine.chain import Chain
from duende.engine.preset import Rig, build_rig
from duende.engine.processor import Processor
from duende.engine.shared import SharedState
from memory import measure
from processors import Delay, Gain, Spring
from signals import click_dbfs, impulse, noise, tone
from switching import host_of, play

Float32 = npt.NDArray[np.float32]

RATE = 48000.0
TAIL = 4800

few = settings(max_examples=12, derandomize=True, deadline=None, database=None)


@dataclass(frozen=True)
class Place:
    """A slot of a random chain. kind: gain, delay, steps (a delay in quanta) or spring; size: of its delay."""

    kind: str
    branch: str
    size: int
    gain: float

    def processor(self, *, plain: bool) -> Processor:
        gain = 1.0 if plain else self.gain
        if self.kind == "gain":
            return Gain(gain)
        if self.kind == "spring":
            return Spring(TAIL, self.size)
        return Delay(self.size, gain, quantum=16 if self.kind == "steps" else 1)


def places(branches: list[str], kinds: list[str]) -> st.SearchStrategy[list[Place]]:
    place = st.builds(
        Place,
        st.sampled_from(kinds),
        st.sampled_from(branches),
        st.integers(0, 100),
        st.sampled_from([-0.7, 0.3, 0.9]),
    )
    return st.lists(place, max_size=3)


def chains(*kinds: str) -> st.SearchStrategy[list[Place]]:
    """Up to nine slots of these kinds: trunk, branches, trunk."""
    trunk, split = places([""], list(kinds)), places(["a", "b"], list(kinds))
    return st.builds(lambda before, both, after: [*before, *both, *after], trunk, split, trunk)


def make_rig(row: list[Place], page: int = 0, shared: SharedState | None = None, *, plain: bool = False) -> Rig:
    named = [(place.kind, place.processor(plain=plain)) for place in row]
    rig = build_rig(named, shared, page, [place.branch for place in row])
    for parameter in rig.bank.table.rows():
        rig.bank.set(parameter.name, parameter.default)
    return rig


def run(chain: Chain, samples: Float32, block: int) -> Float32:
    out = np.zeros((len(samples), 1), dtype=np.float32)
    for start in range(0, len(samples), block):
        part = samples[start : start + block, None]
        chain.process(part, out[start : start + len(part)])
    return out[:, 0]


blocks = st.sampled_from([1, 16, 63, 64, 128, 480, 1000])


@few
@given(chains("gain", "delay", "steps"), blocks, st.floats(0.0, 1.0))
def test_an_impulse_is_late_by_the_latency(row: list[Place], block: int, balance: float) -> None:
    chain = make_rig(row, plain=True).chain
    chain.bank.set("split/balance", balance)
    chain.prepare(RATE, block, block)
    late = chain.latency.samples
    got = run(chain, impulse(2000, at=321, level=0.5), block)
    assert np.abs(got - impulse(2000, at=321 + late, level=0.5)).max() <= 1e-7


@few
@given(chains("gain", "delay", "steps", "spring"), blocks, st.booleans())
def test_bypass_is_the_delayed_input_bit_for_bit(row: list[Place], block: int, one_by_one: bool) -> None:
    chain = make_rig(row).chain
    for name in [f"slot/{place + 1}/bypass" for place in range(len(row))] if one_by_one else ["bypass"]:
        chain.bank.set(name, 1.0)
    # Half of one branch and half of the other is the whole, but for the last bit.
    chain.bank.set("split/balance", 0.0)
    chain.prepare(RATE, block, block)
    samples = noise(np.random.default_rng(1), 4000, level_dbfs=-30.0)
    late = chain.latency.samples
    got = run(chain, samples, block)
    assert np.array_equal(got[late:], samples[: len(samples) - late])
    assert not got[:late].any()


@few
@given(chains("gain", "delay", "steps", "spring"), blocks, st.data())
def test_any_block_size_gives_the_offline_samples(row: list[Place], block: int, data: st.DataObject) -> None:
    offline, live = make_rig(row).chain, make_rig(row).chain
    for place in range(1, len(row) + 1):
        mix, bypass = data.draw(st.sampled_from([0.0, 0.5, 1.0])), data.draw(st.booleans())
        for chain in (offline, live):
            chain.bank.set(f"slot/{place}/mix", mix)
            chain.bank.set(f"slot/{place}/bypass", float(bypass))
    offline.prepare(RATE, 8192, 8192)
    live.prepare(RATE, block, block)
    samples = noise(np.random.default_rng(2), 8192, level_dbfs=-40.0)
    late = live.latency.samples - offline.latency.samples
    wanted, got = run(offline, samples, 8192), run(live, samples, block)
    assert np.abs(got[late:] - wanted[: len(wanted) - late]).max() <= 1e-5
    assert live.telemetry.count("starved") == 0


@few
@given(chains("gain", "delay", "steps", "spring"), blocks, st.data())
def test_mono_is_both_sides_of_stereo(row: list[Place], block: int, data: st.DataObject) -> None:
    """One input to two outputs, and the same on two inputs, are what one input to one output is."""
    mono, wide, stereo = (make_rig(row).chain for _ in range(3))
    for place in range(1, len(row) + 1):
        mix, bypass = data.draw(st.sampled_from([0.0, 0.5, 1.0])), data.draw(st.booleans())
        for chain in (mono, wide, stereo):
            chain.bank.set(f"slot/{place}/mix", mix)
            chain.bank.set(f"slot/{place}/bypass", float(bypass))
    samples = noise(np.random.default_rng(3), 4000, level_dbfs=-40.0)
    mono.prepare(RATE, block, block)
    wide.prepare(RATE, block, block, 1, 2)
    stereo.prepare(RATE, block, block, 2)
    wanted = run(mono, samples, block)
    for chain, source in ((wide, samples[:, None]), (stereo, np.repeat(samples[:, None], 2, axis=1))):
        out = np.zeros((len(samples), 2), dtype=np.float32)
        for start in range(0, len(samples), block):
            part = source[start : start + block]
            chain.process(part, out[start : start + len(part)])
        assert chain.latency == mono.latency
        assert np.array_equal(out[:, 0], wanted)
        assert np.array_equal(out[:, 1], wanted)


@few
@given(chains("gain", "delay", "steps", "spring"), st.sampled_from([64, 480]), st.data())
def test_no_change_of_a_value_clicks(row: list[Place], block: int, data: st.DataObject) -> None:
    names = ["bypass", "mix", "split/balance"]
    names += [f"slot/{place}/{what}" for place in range(1, len(row) + 1) for what in ("bypass", "mix")]
    name = data.draw(st.sampled_from(names))
    chain = make_rig(row).chain
    chain.bank.set("input/gain", -12.0)
    chain.prepare(RATE, block, block)
    samples = tone(100.0, 3 * 19_200, level_dbfs=-18.0)
    before = chain.bank.get(name)
    heard = [run(chain, samples[:19_200], block)]
    chain.bank.set(name, 1.0 - before)
    heard.append(run(chain, samples[19_200:38_400], block))
    chain.bank.set(name, before)
    heard.append(run(chain, samples[38_400:], block))
    got = np.concatenate(heard)
    for start in (19_200, 19_200 + TAIL, 38_400):
        assert max(click_dbfs(got, start)) <= -60.0, name


@few
@given(chains("gain", "delay", "spring"), st.sampled_from([64, 480]), st.data())
def test_no_change_of_the_row_clicks(row: list[Place], block: int, data: st.DataObject) -> None:
    """Slots go, and those of a chain without a split change places."""
    changed = [place for place in row if data.draw(st.booleans())]
    if not any(place.branch for place in changed):
        changed = data.draw(st.permutations(changed))
    shared = SharedState()
    rigs = [make_rig(row, 0, shared), make_rig(changed, 1, shared)]
    for rig in rigs:
        rig.bank.set("input/gain", -12.0)
    host = host_of(rigs[0], block)

    def change(number: int) -> None:
        if number == 19_200 // block:
            host.switch(rigs[1])

    got = play(host, tone(100.0, 60 * 960, level_dbfs=-18.0), block, change)
    assert host.rig is rigs[1]
    for start in (19_200, 19_200 + TAIL, 30_000):
        assert max(click_dbfs(got, start)) <= -60.0


def test_a_split_with_a_tail_asks_for_no_memory() -> None:
    """While values move, tails ring and end, and the door shuts."""
    row = [
        Place("gain", "", 0, 0.9),
        Place("spring", "a", 7, 1.0),
        Place("steps", "b", 50, -0.7),
        Place("spring", "", 0, 1.0),
    ]
    rig = make_rig(row)
    chain, names = rig.chain, ["split/balance", "slot/2/bypass", "slot/4/bypass", "slot/4/mix"]
    chain.prepare(RATE, 128, 128)
    samples, out = (
        noise(np.random.default_rng(3), 128 * 100, level_dbfs=-30.0).reshape(-1, 128, 1),
        np.empty((128, 1), dtype=np.float32),
    )
    source, turns = list(samples), [0]

    def call() -> None:
        turn = turns[0] = turns[0] + 1
        if turn % 60 == 0:
            name = names[turn // 60 % 4]
            chain.bank.set(name, float(turn // 240 % 2))
        if turn % 480 == 0:
            chain.leave()
        elif turn % 480 == 100:
            chain.enter()
            chain._leaving = False
        chain.process(source[turn % len(source)], out)

    for _ in range(1000):
        call()
    memory = measure(call, 1000)
    assert memory.kept_array_bytes == 0
    assert memory.garbage == 0
    assert memory.kept_bytes < 6144
    assert memory.transient_bytes < 4096
