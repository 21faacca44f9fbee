"""The chain: any block size, exact delays, changes without clicks, successors, faults and rests.

Clicks are measured as what a sine of 100 Hz leaves above 5 kHz: the output goes through a linear-phase high-pass
(Kaiser, 120 dB down below 4.5 kHz), and from the change until 150 ms after it both its root mean square and its
peak must stay below -60 dBFS.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from duende.engine.chain import Chain, reblocking_latency
from duende.engine.model import Model
from duende.engine.params import ParameterBank
from duende.engine.processor import Processor, StreamSpec, spill_samples
from duende.engine.shared import SharedState
from duende.engine.spectral import SpectralProcessor
from duende.engine.stft import SMALL_SIZES
from duende.engine.telemetry import Telemetry
from models import HOSTILE, dark_model, dry_model, hostile_model, tiny_model
from processors import Delay, Echo, Faulty, Gain, Spring
from signals import amplitude, click_dbfs, impulse, noise, snr_db, tone

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

RATE = 48000.0
BLOCKS = [1, 63, 64, 65, 128, 1000, 8192]


def make_chain(*processors: Processor) -> Chain:
    shared = SharedState()
    named = [(f"p{index}", processor) for index, processor in enumerate(processors)]
    return Chain(ParameterBank(shared.pages[0]), Telemetry(shared), named)


def run(chain: Chain, samples: Float32, blocks: Sequence[int]) -> Float32:
    """Samples [n] or [n, channels] through a prepared chain in blocks that take turns."""
    frames = samples.reshape(len(samples), -1)
    out, at, turn = np.empty_like(frames), 0, 0
    while at < len(frames):
        end = min(at + blocks[turn % len(blocks)], len(frames))
        chain.process(frames[at:end], out[at:end])
        at, turn = end, turn + 1
    return out.reshape(samples.shape)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """All excitations and a little network, 2048/256/128."""
    return tiny_model(tmp_path_factory.mktemp("full"))


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The same with windows 1024/128/64."""
    return tiny_model(tmp_path_factory.mktemp("small"), sizes=SMALL_SIZES)


@pytest.fixture(scope="module")
def dry(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return dry_model(tmp_path_factory.mktemp("dry"))


@pytest.fixture(scope="module")
def dark(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return dark_model(tmp_path_factory.mktemp("dark"))


Kind = Callable[[Model, Model], list[Processor]]

KINDS: dict[str, Kind] = {
    "nothing": lambda full, small: [],
    "gain": lambda full, small: [Gain(0.5)],
    "delay": lambda full, small: [Delay(37, 0.5)],
    "delay in steps": lambda full, small: [Delay(37, 0.5, quantum=128)],
    "spectral": lambda full, small: [SpectralProcessor(full)],
    "small spectral": lambda full, small: [SpectralProcessor(small)],
    "row": lambda full, small: [Gain(0.8), SpectralProcessor(small), Delay(5), SpectralProcessor(full)],
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_block_size_gives_the_offline_samples_shifted(
    kind: str, full: Model, small: Model, rng: np.random.Generator
) -> None:
    samples = noise(rng, 3 * 8192, level_dbfs=-18.0)
    samples[9000:12000] = 0.0
    offline = make_chain(*KINDS[kind](full, small))
    offline.prepare(RATE, 8192, 8192)
    assert offline.latency.reblocking == 0
    wanted = run(offline, samples, [8192])
    assert np.abs(wanted).max() > 0.01
    chain = make_chain(*KINDS[kind](full, small))
    sequences = [[size] for size in BLOCKS]
    sequences += [[int(size) for size in rng.integers(1, most, 200)] for most in (200, 3000)]
    for blocks in sequences:
        chain.prepare(RATE, blocks[0] if len(blocks) == 1 else None, max(blocks))
        late = chain.latency.samples - offline.latency.samples
        got = run(chain, samples, blocks)
        assert np.abs(got[late:] - wanted[: len(wanted) - late]).max() <= 1e-5, f"blocks of {blocks[:3]}"
        assert not got[:late].any()
    assert chain.telemetry.count("starved") == 0
    assert chain.telemetry.count("faults") == 0


def test_two_channels_are_two_single_ones(rng: np.random.Generator) -> None:
    samples = noise(rng, 12_000, level_dbfs=-18.0).reshape(-1, 2)
    both = make_chain(Gain(0.7), Delay(5))
    both.prepare(RATE, 256, 256, channels=2)
    got = run(both, samples, [256])
    one = make_chain(Gain(0.7), Delay(5))
    for channel in range(2):
        one.prepare(RATE, 256, 256)
        assert np.abs(got[:, channel] - run(one, samples[:, channel].copy(), [256])).max() <= 1e-5


# Device block, model, added samples: the table of the design, and what its formula gives beside it.
ADDED = [
    (128, "full", 128),
    (256, "full", 128),
    (512, "full", 128),
    (1024, "full", 128),
    (8192, "full", 128),
    (64, "full", 192),
    (64, "small", 64),
    (128, "small", 64),
    (32, "full", 224),
    (32, "small", 96),
    (480, "full", 224),
    (480, "small", 96),
    (63, "full", 255),
    (1, "full", 255),
    (None, "full", 255),
    (None, "small", 127),
]


@pytest.mark.parametrize(("block", "model", "added"), ADDED)
def test_an_impulse_is_late_by_exactly_the_latency(
    block: int | None, model: str, added: int, full: Model, small: Model, rng: np.random.Generator
) -> None:
    chain = make_chain(SpectralProcessor({"full": full, "small": small}[model]))
    chain.bank.set("amount", 0.0)
    blocks = [int(size) for size in rng.integers(1, 700, 100)] if block is None else [block]
    chain.prepare(RATE, block, max(blocks))
    assert chain.latency.samples == added
    for at in (0, 1000, 1001, 1127):
        chain.reset()
        got = run(chain, impulse(6000, at=at, level=0.5), blocks)
        assert int(np.argmax(np.abs(got))) == at + added
        assert np.abs(got - impulse(6000, at=at + added, level=0.5)).max() <= 1e-6


@pytest.mark.parametrize("block", [1, 32, 64, 100, 128, 480, 512, None])
def test_other_processors_are_late_by_what_they_say(block: int | None, rng: np.random.Generator) -> None:
    blocks = [int(size) for size in rng.integers(1, 300, 100)] if block is None else [block]
    row = [Gain(1.0), Delay(37), Delay(5, quantum=96), Delay(0, quantum=32)]
    for processors in ([], row[:1], row[:2], row):
        chain = make_chain(*processors)
        chain.prepare(RATE, block, max(blocks))
        parts = sum(processor.latency_samples for processor in processors)
        quantum = 96 if len(processors) == 4 else 1
        assert chain.latency.reblocking == reblocking_latency(block, quantum)
        assert chain.latency.samples == parts + chain.latency.reblocking
        assert [samples for _, samples in chain.latency.slots] == [p.latency_samples for p in processors]
        got = run(chain, impulse(2000, at=321, level=0.5), blocks)
        assert np.array_equal(got, impulse(2000, at=321 + chain.latency.samples, level=0.5))


@pytest.mark.parametrize("block", [64, 128, 480, 1000, 8192])
def test_identity(block: int, full: Model, small: Model, rng: np.random.Generator) -> None:
    samples = np.clip(noise(rng, 8192, level_dbfs=-15.0), -0.65, 0.65)
    for setting in ("amount", "mix", "slot/1/mix", "bypass", "slot/1/bypass"):
        for model in (full, small):
            chain = make_chain(SpectralProcessor(model))
            chain.bank.set(setting, 1.0 if setting.endswith("bypass") else 0.0)
            chain.prepare(RATE, block, block)
            got, late = run(chain, samples, [block]), chain.latency.samples
            assert np.abs(got[late:] - samples[:-late]).max() <= 1e-6, setting


Change = Callable[[Chain, bool], None]


def to(name: str, value: float, back: float) -> Change:
    return lambda chain, there: chain.bank.set(name, value if there else back)


CHANGES: dict[str, Change] = {
    "bypass": to("bypass", 1.0, 0.0),
    "slot bypass": to("slot/1/bypass", 1.0, 0.0),
    "mix": to("mix", 0.0, 1.0),
    "slot mix": to("slot/1/mix", 0.0, 1.0),
    "input gain": to("input/gain", -30.0, 0.0),
    "output gain": to("output/gain", -60.0, 0.0),
    "amount": to("amount", 0.0, 1.0),
}


@pytest.mark.parametrize("block", [64, 480, 8192])
@pytest.mark.parametrize(
    ("kind", "change"),
    [(kind, change) for kind in ("spectral", "delay") for change in CHANGES if (kind, change) != ("delay", "amount")],
)
def test_changes_do_not_click(change: str, block: int, kind: str, dark: Model) -> None:
    chain = make_chain(SpectralProcessor(dark) if kind == "spectral" else Delay(37, -0.5))
    chain.prepare(RATE, block, block)
    samples = tone(100.0, 5 * 16384)
    parts = []
    for number, part in enumerate(np.split(samples, 5)):
        if number in (2, 4):
            CHANGES[change](chain, number == 2)
        parts.append(run(chain, part, [block]))
    got = np.concatenate(parts)
    settled = [np.sqrt(np.mean(parts[i][-4800:].astype(np.float64) ** 2)) for i in (1, 3)]
    assert settled[0] > 0.1
    if kind == "delay":
        assert not np.allclose(parts[1][-4800:], parts[3][-4800:], atol=0.01), "the change must be heard"
    for start in (2 * 16384, 4 * 16384):
        rms, peak = click_dbfs(got, start)
        assert rms <= -60.0
        assert peak <= -60.0


def test_the_click_measure_hears_a_step(dark: Model) -> None:
    samples = tone(100.0, 48000)
    assert max(click_dbfs(samples, 24000)) <= -100.0
    samples[24120:] *= np.float32(0.5)
    rms, peak = click_dbfs(samples, 24000)
    assert peak > -30.0
    assert rms > -60.0


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("block", [64, 128, 1000])
def test_a_fault_resets_the_slot_is_counted_and_never_leaves(poison: float, block: int) -> None:
    faulty = Faulty(37, -1.0, sticky=True)
    faulty.poison = poison
    chain = make_chain(faulty, Echo(5, 3000))
    chain.prepare(RATE, block, block)
    samples = tone(100.0, 60_000, level_dbfs=-12.0)
    plain = make_chain(Delay(37), Echo(5, 3000))
    plain.prepare(RATE, block, block)
    aligned_dry = run(plain, samples, [block])
    with np.errstate(all="ignore"):
        run(chain, samples[:20_000], [block])
        resets = faulty.resets
        faulty.armed = True
        got = run(chain, samples[20_000:40_000], [block])
        calls = -(-20_000 // block)
        faulty.armed = False
        rest = run(chain, samples[40_000:], [block])
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= 2.0 * amplitude(-12.0) + 0.3
    assert chain.telemetry.count("faults") == faulty.resets - resets == calls
    assert np.abs(got[8000:] - aligned_dry[28_000:40_000]).max() <= 1e-5, "the aligned dry signal is heard meanwhile"
    assert np.abs(rest[8000:] + aligned_dry[48_000:]).max() <= 1e-5, "the processor comes back"


@pytest.mark.parametrize("block", [1, 64, 128])
def test_a_single_fault_makes_no_jump(block: int) -> None:
    faulty = Faulty(0, -1.0)
    chain = make_chain(faulty)
    chain.prepare(RATE, block, block)
    samples = tone(100.0, 24_000, level_dbfs=-12.0)
    parts = [run(chain, samples[:12_160], [block])]
    faulty.armed = True
    parts.append(run(chain, samples[12_160 : 12_160 + block], [block]))
    faulty.armed = False
    parts.append(run(chain, samples[12_160 + block :], [block]))
    got = np.concatenate(parts)
    # The steepest way from one sine to its opposite within 10 ms, over a rise that a sine of 100 Hz has itself.
    assert np.abs(np.diff(got)).max() <= 0.01


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("block", [64, 1000])
def test_hostile_models_stay_below_the_ceiling(kind: str, block: int, tmp_path: Path, rng: np.random.Generator) -> None:
    with np.errstate(all="ignore"):
        chain = make_chain(SpectralProcessor(hostile_model(tmp_path, kind)))
        chain.prepare(RATE, block, block)
        samples = np.concatenate([noise(rng, 10_000, level_dbfs=-3.0), np.zeros(5000, dtype=np.float32)])
        got = run(chain, samples, [block])
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= np.float32(amplitude(-0.3))
    if kind in ("not a number", "body of no numbers"):
        assert chain.telemetry.count("faults") > 0
        assert np.abs(got).max() > 0.1, "the dry signal is heard"


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30, 1e5])
def test_hostile_processors_stay_below_the_ceiling(poison: float, rng: np.random.Generator) -> None:
    faulty = Faulty(3)
    faulty.poison, faulty.armed = poison, True
    chain = make_chain(faulty, Gain(10.0))
    chain.prepare(RATE, None, 500)
    with np.errstate(all="ignore"):
        got = run(chain, noise(rng, 20_000), [int(size) for size in rng.integers(1, 500, 100)])
    assert np.isfinite(got).all()
    assert np.abs(got).max() <= np.float32(amplitude(-0.3))
    assert chain.telemetry.count("ceiling") > 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_bad_input_is_repaired_and_counted(bad: float, full: Model, rng: np.random.Generator) -> None:
    samples = noise(rng, 30_000, level_dbfs=-20.0)
    clean = make_chain(SpectralProcessor(full), Delay(5))
    clean.prepare(RATE, 128, 128)
    silent = samples.copy()
    silent[12_000:12_100] = 0.0 if bad != 3e38 else 100.0
    wanted = run(clean, silent, [128])
    chain = make_chain(SpectralProcessor(full), Delay(5))
    chain.prepare(RATE, 128, 128)
    samples[12_000:12_100] = bad
    got = run(chain, samples, [128])
    assert np.isfinite(got).all()
    assert chain.telemetry.count("input_repairs") == 2
    assert chain.telemetry.count("faults") == 0
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("block", [32, 128, 1000])
@pytest.mark.parametrize("kind", ["delay", "spectral"])
def test_a_rest_plays_aligned_dry_and_comes_back(block: int, kind: str, dark: Model) -> None:
    def processor() -> Processor:
        return Delay(37, -1.0) if kind == "delay" else SpectralProcessor(dark)

    samples = tone(100.0, 96_000, level_dbfs=-12.0)
    chain, plain = make_chain(processor()), make_chain(processor())
    for each in (chain, plain):
        each.prepare(RATE, block, block)
    late = chain.latency.samples
    parts = [run(chain, samples[:24_064], [block])]
    chain.rest(0.5)
    parts.append(run(chain, samples[24_064:], [block]))
    got, wanted = np.concatenate(parts), run(plain, samples, [block])
    resting = slice(24_064 + 1000, 24_064 + 23_000)
    assert np.abs(got[resting] - samples[resting.start - late : resting.stop - late]).max() <= 1e-6
    # A style's slow averages (1.5 s) begin afresh.
    assert snr_db(wanted[60_000:], got[60_000:]) >= (100.0 if kind == "delay" else 10.0)
    assert chain.telemetry.count("rests") == 1
    assert chain.telemetry.count("faults") == 0
    # Nothing can be computed for the way into a rest: its beginning is covered, with a corner.
    assert max(click_dbfs(got, 24_064)) <= -50.0
    assert max(click_dbfs(got, 48_064)) <= -60.0


def test_amount_reaches_every_slot_that_has_one(dry: Model, rng: np.random.Generator) -> None:
    samples = noise(rng, 20_000, level_dbfs=-20.0)
    chain = make_chain(SpectralProcessor(dry), SpectralProcessor(dry))
    chain.bank.set("slot/1/amount", 0.5)
    chain.bank.set("amount", 0.5)
    chain.prepare(RATE, 128, 128)
    run(chain, samples, [128])
    assert [float(slot.processor.values[0]) for slot in chain.slots] == pytest.approx([0.25, 0.5])


def test_control_rows_of_slots(full: Model) -> None:
    chain = make_chain(Gain(0.5), SpectralProcessor(full))
    names = {row.name: row for row in chain.bank.table.rows()}
    assert names["slot/1/gain"].default == 0.5
    assert names["slot/2/amount"].default == 1.0
    chain.prepare(RATE, 128, 128)
    chain.bank.set("slot/1/gain", 0.25)
    chain.bank.set("slot/2/bypass", 1.0)
    got = run(chain, np.full(48_000, 0.4, dtype=np.float32), [128])
    assert got[-1] == pytest.approx(0.1, abs=1e-5)


def test_gains_mix_and_bypass_do_what_they_say() -> None:
    samples = np.full(9600, 0.4, dtype=np.float32)

    def settled(**values: float) -> float:
        chain = make_chain(Delay(0, 0.5))
        chain.prepare(RATE, 128, 128)
        for name, value in values.items():
            chain.bank.set(name.replace("__", "/"), value)
        return float(run(chain, samples, [128])[-1])

    six = 10.0 ** (-6.0 / 20.0)
    expected: list[tuple[dict[str, Any], float]] = [
        ({}, 0.2),
        ({"input__gain": -6.0}, 0.2 * six),
        ({"output__gain": -6.0}, 0.2 * six),
        ({"mix": 0.5}, 0.3),
        ({"mix": 0.5, "input__gain": -6.0, "output__gain": -6.0}, 0.3 * six * six),
        ({"slot__1__mix": 0.25}, 0.35),
        ({"slot__1__bypass": 1.0, "input__gain": -6.0}, 0.4 * six),
        ({"bypass": 1.0, "input__gain": -6.0, "output__gain": -20.0, "mix": 0.0}, 0.4),
    ]
    for values, wanted in expected:
        assert settled(**values) == pytest.approx(wanted, abs=1e-5), values


@pytest.mark.parametrize("block", [1, 64, 480, 8192])
@pytest.mark.parametrize("delay", [0, 37])
def test_a_tail_rings_on_to_its_end_under_the_dry_signal(block: int, delay: int, rng: np.random.Generator) -> None:
    tail, samples = 9600, noise(rng, 6 * 8192, level_dbfs=-30.0)
    spring = Spring(tail, delay)
    chain = make_chain(spring)
    chain.prepare(RATE, block, block)
    before = run(chain, samples[: 2 * 8192], [block])
    given = spring.frames
    chain.bank.set("slot/1/bypass", 1.0)
    got = np.concatenate([before, run(chain, samples[2 * 8192 :], [block])])
    dry = np.concatenate([np.zeros(delay, dtype=np.float32), samples])[: len(samples)]
    # 20 ms later the input is out; what was played before is heard as if nothing had happened.
    change, faded = 2 * 8192, 2 * 8192 + 9600 if block == 8192 else 2 * 8192 + 4800
    wet = np.concatenate([np.zeros(tail, dtype=np.float32), samples])
    ringing = slice(faded, change + tail)
    assert np.abs(got[ringing] - dry[ringing] - wet[ringing]).max(initial=0.0) <= 1e-6
    over = change + tail + 9600 + 2 * block
    assert np.array_equal(got[over:], dry[over:])
    assert spring.frames - given <= tail + 2 * 4800 + 3 * block, "then it costs nothing"


@pytest.mark.parametrize("block", [64, 480])
@pytest.mark.parametrize("mix", [1.0, 0.4])
def test_a_tail_that_spills_over_makes_no_click(block: int, mix: float) -> None:
    chain = make_chain(Spring(9600), Gain(0.5))
    chain.bank.set("slot/1/mix", mix)
    chain.prepare(RATE, block, block)
    parts = []
    for number, part in enumerate(np.split(tone(100.0, 6 * 24_000, level_dbfs=-18.0), 6)):
        chain.bank.set("slot/1/bypass", float(number in (1, 3, 4)))
        parts.append(run(chain, part, [block]))
    got = np.concatenate(parts)
    for start in (24_000, 24_000 + 9600, 24_000 + 9600 + 1440, 48_000, 72_000, 120_000):
        assert max(click_dbfs(got, start)) <= -60.0, start


def test_what_comes_back_has_forgotten_what_was_played_before() -> None:
    chain = make_chain(Spring(9600))
    chain.prepare(RATE, 64, 64)
    chain.bank.set("slot/1/bypass", 1.0)
    run(chain, np.zeros(9600, dtype=np.float32), [64])
    run(chain, np.full(19_200, 0.25, dtype=np.float32), [64])
    chain.bank.set("slot/1/bypass", 0.0)
    got = run(chain, np.full(24_000, 0.25, dtype=np.float32), [64])
    assert np.abs(got[:9500] - 0.25).max() <= 1e-6
    assert got[-1] == pytest.approx(0.5)


def test_styles_fade_out_and_do_not_spill(full: Model, rng: np.random.Generator) -> None:
    assert spill_samples(SpectralProcessor(full), RATE) == 0
    assert spill_samples(Echo(0, 2399), RATE) == 0
    assert spill_samples(Echo(0, 2401), RATE) == 2401
    assert spill_samples(Echo(0, 10**7), RATE) == 12 * 48000


def test_a_tail_may_follow_the_values() -> None:
    class Growing(Spring):
        """Knows how long its tail is only when it has played."""

        spills = True

        def prepare(self, spec: StreamSpec) -> None:
            super().prepare(spec)
            self.tail_samples = 0

        def process(self, block: Float32, out: Float32) -> None:
            super().process(block, out)
            self.tail_samples = 9600

    chain = make_chain(Growing(9600))
    chain.prepare(RATE, 64, 64)
    run(chain, np.full(19_200, 0.25, dtype=np.float32), [64])
    chain.bank.set("slot/1/bypass", 1.0)
    got = run(chain, np.full(19_200, 0.25, dtype=np.float32), [64])
    assert np.abs(got[4800:9600] - 0.5).max() <= 1e-6
    assert np.abs(got[-4800:] - 0.25).max() <= 1e-6


def test_the_time_of_each_slot_is_known() -> None:
    class Slow(Gain):
        def process(self, block: Float32, out: Float32) -> None:
            super().process(block, out)
            until = time.perf_counter() + 0.5e-3
            while time.perf_counter() < until:
                pass

    chain = make_chain(Gain(), Slow())
    chain.prepare(RATE, 128, 128)
    samples = np.zeros(128 * 200, dtype=np.float32)
    run(chain, samples, [128])
    quick, slow = (chain.telemetry.slot_load(slot) for slot in range(2))
    assert 0.0 < quick[0] < slow[0]
    assert slow[1] >= slow[0] >= 0.15, "half a millisecond of 2.67, most of the way there after half a second"
    chain.telemetry.clear()
    chain.timed = False
    run(chain, samples, [128])
    assert chain.telemetry.slot_load(1) == (0.0, 0.0)


def test_impossible_blocks_are_refused() -> None:
    for block, most in ((256, 128), (None, 0)):
        with pytest.raises(ValueError, match=f"block {block}, max_block {most}"):
            make_chain(Gain()).prepare(RATE, block, most)
