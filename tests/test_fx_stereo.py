"""Effects in stereo: two sides as far as `width` says, none at 0, as loud as in mono, and mono again where added up."""

import gc
import itertools
import resource
import sys

import numpy as np
import numpy.typing as npt
import pytest

from duende.engine.chain import Chain
from duende.engine.fx.graphs import QUANTUM, Graphs
from duende.engine.fx.processor import PyoEffect
from duende.engine.fx.table import EFFECTS
from duende.engine.params import ParameterBank
from duende.engine.processor import StreamSpec, widens_at
from duende.engine.shared import SharedState
from duende.engine.telemetry import Telemetry
from effects import level_db, play, prepared
from signals import above_5_khz, amplitude, impulse, noise, tone

pytestmark = pytest.mark.fx

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

RATE = 48000.0
MACOS = sys.platform == "darwin"
WIDE = [name for name, effect in EFFECTS.items() if effect.widens]
KEEPS_SIDES = [name for name in WIDE if name != "delay"]
AHEAD = {"chorus": 0.5, "flanger": 0.25, "phaser": 0.25, "tremolo": 0.5}
"""By how much of a turn the right side's sine is ahead at full width."""
EVERY = pytest.mark.parametrize("name", WIDE)


def full(name: str, width: float) -> dict[str, float]:
    """All of an effect, so far apart."""
    return {"width": width} | ({} if name == "tremolo" else {"wet": 1.0})


def twice(samples: Float32) -> Float32:
    return np.stack([samples, samples], axis=1)


def third_octaves_db(samples: Float32) -> Float64:
    """Levels from 80 Hz to 16 kHz."""
    power = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    hz = np.fft.rfftfreq(len(samples), 1.0 / RATE)
    edges = 80.0 * 2.0 ** (np.arange(24) / 3.0)
    return np.array(
        [10.0 * np.log10(power[(hz >= low) & (hz < high)].sum()) for low, high in itertools.pairwise(edges)]
    )


def played(name: str, width: float, rng: np.random.Generator, seconds: int = 6) -> tuple[Float32, Float32, Float32]:
    """The same noise on both sides [n], all of an effect in mono [n] and in stereo [n, 2], after a second of it."""
    samples = noise(rng, QUANTUM * 750 * seconds, level_dbfs=-20.0)
    mono = play(prepared(name, values=full(name, width)), samples, [64])
    both = play(prepared(name, channels=2, values=full(name, width)), twice(samples), [64])
    return samples[QUANTUM * 750 :], mono[QUANTUM * 750 :], both[QUANTUM * 750 :]


def test_what_has_a_width_makes_two_sides_and_nothing_else_does() -> None:
    assert set(WIDE) == {"chorus", "flanger", "phaser", "tremolo", "delay", "reverb"}
    for name, effect in EFFECTS.items():
        assert widens_at(PyoEffect(name), RATE) == ("width" in [control.name for control in effect.controls])


@EVERY
def test_a_width_of_0_is_mono_on_both_sides(name: str, rng: np.random.Generator) -> None:
    samples = noise(rng, QUANTUM * 600, level_dbfs=-15.0)
    wanted = play(prepared(name, values=full(name, 0.0)), samples)
    got = play(prepared(name, channels=2, values=full(name, 0.0)), twice(samples))
    assert np.array_equal(got[:, 0], got[:, 1])
    assert np.abs(got[:, 0] - wanted).max() < 1e-6


@EVERY
def test_in_mono_the_width_does_nothing(name: str, rng: np.random.Generator) -> None:
    samples = noise(rng, QUANTUM * 600, level_dbfs=-15.0)
    narrow, wide = (play(prepared(name, values=full(name, width)), samples) for width in (0.0, 1.0))
    assert np.array_equal(narrow, wide)


@EVERY
@pytest.mark.parametrize("width", [0.2, 1.0])
def test_with_a_width_the_sides_differ(name: str, width: float, rng: np.random.Generator) -> None:
    _, mono, both = played(name, width, rng, seconds=4)
    left, right = both.astype(np.float64).T
    likeness = np.dot(left, right) / np.sqrt(np.dot(left, left) * np.dot(right, right))
    assert likeness < (0.995 if width < 1.0 else 0.93)
    assert np.array_equal(both[:, 0], mono) == (name in AHEAD), "the left side is as in mono"


@pytest.mark.parametrize("name", AHEAD)
@pytest.mark.parametrize("width", [0.2, 1.0])
def test_the_right_side_is_ahead_by_a_part_of_a_turn(name: str, width: float, rng: np.random.Generator) -> None:
    """It is what comes out in mono where the sine began so much earlier, in silence."""
    samples = noise(rng, QUANTUM * 1000, level_dbfs=-15.0)
    # 0.75 Hz: a turn takes 1000 quanta.
    values = full(name, width) | {"rate": 0.75}
    earlier = np.zeros(QUANTUM * round(1000 * AHEAD[name] * width), dtype=np.float32)
    wanted = play(prepared(name, values=values), np.concatenate([earlier, samples]))[len(earlier) :]
    got = play(prepared(name, channels=2, values=values), twice(samples))[:, 1]
    settled = slice(QUANTUM * 20, None)
    assert np.abs(got - wanted)[settled].max() < 1e-3


@EVERY
@pytest.mark.parametrize("width", [0.5, 1.0])
def test_two_sides_are_as_loud_as_mono(name: str, width: float, rng: np.random.Generator) -> None:
    """Of the delay both together, as it throws its echoes from one side to the other."""
    _, mono, both = played(name, width, rng)
    assert level_db(both) == pytest.approx(level_db(mono), abs=0.5)
    if name != "delay":
        for side in both.T:
            assert level_db(side) == pytest.approx(level_db(mono), abs=0.5)


@EVERY
@pytest.mark.parametrize("width", [0.5, 1.0])
def test_added_up_it_is_mono_again_without_a_comb(name: str, width: float, rng: np.random.Generator) -> None:
    """What has nothing in common is 3 dB softer in the sum than what is the same on both sides, and no more."""
    _, mono, both = played(name, width, rng)
    got, wanted = third_octaves_db(both.mean(axis=1)), third_octaves_db(mono)
    assert (got - wanted).min() > -3.3
    assert (got - wanted).max() < 0.3
    assert level_db(both.mean(axis=1)) == pytest.approx(level_db(mono), abs=1.3)


def test_the_rooms_sides_have_as_little_in_common_as_asked_and_their_sum_is_the_room(rng: np.random.Generator) -> None:
    for width, common in ((0.0, 1.0), (0.5, 0.707), (1.0, 0.0)):
        samples, mono, both = played("reverb", width, rng, seconds=4)
        room, rooms = mono - samples, both - samples[:, None]
        assert np.corrcoef(rooms.T)[0, 1] == pytest.approx(common, abs=0.02)
        assert np.abs(rooms.mean(axis=1) - np.cos(0.25 * np.pi * width) * room).max() < 1e-4
        for side in rooms.T:
            assert np.abs(third_octaves_db(side) - third_octaves_db(room)).max() < 3.0


def test_a_room_is_as_wide_at_every_rate() -> None:
    for rate in (44100.0, 96000.0):
        samples = noise(np.random.default_rng(2), QUANTUM * 3000, level_dbfs=-20.0)
        effect = prepared("reverb", channels=2, rate=rate, values=full("reverb", 1.0))
        rooms = play(effect, twice(samples), [64]) - samples[:, None]
        assert np.corrcoef(rooms.T)[0, 1] == pytest.approx(0.0, abs=0.03)
        assert level_db(rooms[:, 0]) == pytest.approx(level_db(rooms[:, 1]), abs=0.5)


@pytest.mark.parametrize("name", KEEPS_SIDES)
@pytest.mark.parametrize("side", [0, 1])
def test_what_is_on_one_side_stays_there(name: str, side: int, rng: np.random.Generator) -> None:
    samples = np.zeros((QUANTUM * 600, 2), dtype=np.float32)
    samples[:, side] = noise(rng, len(samples), level_dbfs=-15.0)
    got = play(prepared(name, channels=2, values=full(name, 1.0)), samples)
    assert not got[:, 1 - side].any()
    assert level_db(got[:, side]) == pytest.approx(level_db(samples[:, side]), abs=3.5)


@pytest.mark.parametrize("name", KEEPS_SIDES)
def test_a_panned_guitar_stays_where_it_stands(name: str, rng: np.random.Generator) -> None:
    samples = noise(rng, QUANTUM * 1500, level_dbfs=-15.0)
    got = play(prepared(name, channels=2, values=full(name, 0.5)), np.stack([0.9 * samples, 0.3 * samples], axis=1))
    levels = [level_db(side[QUANTUM * 500 :]) for side in got.T]
    assert levels[0] - levels[1] == pytest.approx(20.0 * np.log10(3.0), abs=0.5)


def echoes(width: float, left: float, right: float, count: int = 4) -> Float64:
    """Largest samples [count + 1, sides] of an impulse and of its echoes, each half as loud as the one before."""
    values = {"time": 40.0, "feedback": 0.5, "tone": 16000.0, "wet": 1.0, "width": width}
    sound = np.outer(impulse(QUANTUM * 30 * (count + 1), at=10), [left, right]).astype(np.float32)
    got = np.abs(play(prepared("delay", channels=2, values=values), sound))
    peaks = got.reshape(count + 1, QUANTUM * 30, 2).max(axis=1).astype(np.float64)
    # The filter of the echoes takes from each the same share more; what is left is what the sides have.
    whole = np.abs(play(prepared("delay", values=values), sound[:, :1] / max(left, 1e-9)))
    return np.asarray(peaks / whole.reshape(count + 1, QUANTUM * 30).max(axis=1)[:, None], dtype=np.float64)


def test_echoes_go_to_and_fro() -> None:
    loud = np.sqrt(2.0)
    assert echoes(1.0, 1.0, 1.0) == pytest.approx(
        np.array([[1.0, 1.0], [loud, 0.0], [0.0, loud], [loud, 0.0], [0.0, loud]]), abs=0.01
    )
    half = echoes(0.5, 1.0, 1.0)
    assert (half[1:] ** 2).sum(axis=1) == pytest.approx(np.full(4, 2.0), abs=0.03), "as much energy as in mono"
    assert half[1] == pytest.approx([1.307, 0.541], abs=0.01)
    assert half[2] == pytest.approx([0.541, 1.307], abs=0.01)


def test_the_delays_plain_sound_stays_on_its_side() -> None:
    for width in (0.0, 0.5, 1.0):
        assert echoes(width, 1.0, 0.0)[0] == pytest.approx([1.0, 0.0], abs=1e-6)
        assert echoes(width, 0.5, 1.0)[0] == pytest.approx([0.5, 1.0], abs=1e-6)
    narrow = echoes(0.0, 1.0, 0.0)
    assert narrow[1:, 0] == pytest.approx(np.ones(4), abs=0.01)
    assert not narrow[:, 1].any(), "at a width of 0 its echoes do, too"
    assert echoes(1.0, 1.0, 0.0)[1:] == pytest.approx(0.5 * echoes(1.0, 1.0, 1.0)[1:], abs=0.01)


@EVERY
def test_any_number_of_quanta_gives_the_same_samples(name: str, rng: np.random.Generator) -> None:
    samples = noise(rng, QUANTUM * 600, level_dbfs=-15.0).reshape(-1, 2)
    wanted = play(prepared(name, channels=2, values=full(name, 0.8)), samples, [64])
    assert np.array_equal(play(prepared(name, channels=2, values=full(name, 0.8)), samples, [1, 5, 3, 17]), wanted)


@EVERY
def test_silence_stays_silent_and_returns_within_the_tail(name: str, rng: np.random.Generator) -> None:
    values = full(name, 1.0) | ({"decay": 0.6} if name == "reverb" else {})
    effect = prepared(name, channels=2, values=values)
    assert np.abs(play(effect, np.zeros((QUANTUM * 200, 2), dtype=np.float32))).max() < 1e-6
    loud = noise(rng, QUANTUM * 800, level_dbfs=-12.0).reshape(-1, 2)
    tail = -(-effect.tail_samples // QUANTUM) * QUANTUM
    got = play(effect, np.concatenate([loud, np.zeros((tail + 100 * QUANTUM, 2), dtype=np.float32)]))
    assert np.abs(got[: len(loud)]).max() > 0.01
    assert np.abs(got[len(loud) + tail :]).max() < amplitude(-80.0)


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30])
@EVERY
def test_a_fault_on_one_side_is_survived(name: str, poison: float) -> None:
    effect = prepared(name, channels=2, values=full(name, 1.0))
    samples = twice(tone(100.0, QUANTUM * 200, level_dbfs=-12.0))
    wanted = play(effect, samples)
    bad = samples.copy()
    bad[100, 1] = poison
    with np.errstate(all="ignore"):
        play(effect, bad[: QUANTUM * 10])
    effect.reset()
    assert np.array_equal(play(effect, samples), wanted), "nothing is left of it"


@EVERY
def test_a_successor_goes_on_in_step(name: str) -> None:
    """Of what remembers, once it has heard as much of the past as it says."""
    samples = np.stack([tone(hz, QUANTUM * 2400, level_dbfs=-12.0) for hz in (100.0, 150.0)], axis=1)
    short = {"reverb": {"decay": 0.6}, "delay": {"feedback": 0.1}}
    values = full(name, 1.0) | short.get(name, {})
    wanted = play(prepared(name, channels=2, values=values), samples)
    first, second = (prepared(name, channels=2, values=values) for _ in range(2))
    half, warm = QUANTUM * 1500, QUANTUM * 1200
    play(first, samples[:half])
    second.adopt(first, warm)
    play(second, samples[half - warm : half])
    got = play(second, samples[half:])
    assert np.abs(got - wanted[half:]).max() < 2e-3


def chain_of(effect: PyoEffect) -> Chain:
    shared = SharedState()
    return Chain(ParameterBank(shared.pages[0]), Telemetry(shared), [(effect.name, effect)])


def run(chain: Chain, samples: Float32) -> Float32:
    """Mono [n] to stereo [n, 2]."""
    out = np.empty((len(samples), 2), dtype=np.float32)
    for at in range(0, len(samples), QUANTUM):
        chain.process(samples[at : at + QUANTUM, None], out[at : at + QUANTUM])
    return out


CONTROLS = [(name, control.name) for name in WIDE for control in EFFECTS[name].controls]


@pytest.mark.parametrize(("name", "control"), CONTROLS)
def test_no_control_clicks_on_either_side(name: str, control: str) -> None:
    """From its least to its largest value at once and back, while a sine of 100 Hz plays."""
    chain = chain_of(PyoEffect(name))
    chain.bank.set("slot/1/width", 0.7)
    if (name, control) == ("delay", "tempo"):
        chain.bank.set("slot/1/beats", 0.5)
    row = chain.bank.table.find(f"slot/1/{control}")[1]
    chain.bank.set(row.name, row.minimum)
    chain.prepare(RATE, QUANTUM, QUANTUM, 1, 2)
    assert chain.width == 2
    part = 512 * QUANTUM
    samples = tone(100.0, 3 * part, level_dbfs=-12.0)
    got = [run(chain, samples[:part])]
    chain.bank.set(row.name, row.maximum)
    got.append(run(chain, samples[part : 2 * part]))
    chain.bank.set(row.name, row.minimum)
    got.append(run(chain, samples[2 * part :]))
    for side in np.concatenate(got).T:
        clicks = np.abs(above_5_khz(side))
        steady = max(clicks[at * part - 9600 : at * part - 600].max() for at in (1, 2))
        for change in (part, 2 * part):
            assert clicks[change - 300 : change + 9600].max() <= max(amplitude(-60.0), 1.12 * steady)
    assert chain.telemetry.count("faults") == 0


@pytest.mark.parametrize("name", ["delay", "reverb"])
def test_both_sides_ring_on_when_it_is_left_out(name: str, rng: np.random.Generator) -> None:
    """As loud as when it stays in and the playing stops."""
    chains = [chain_of(PyoEffect(name)) for _ in range(2)]
    played_s, after = QUANTUM * 1500, QUANTUM * 1500
    burst, rest = noise(rng, played_s, level_dbfs=-18.0), np.zeros(after, dtype=np.float32)
    tails = []
    for number, chain in enumerate(chains):
        for control, value in full(name, 1.0).items():
            chain.bank.set(f"slot/1/{control}", value)
        chain.prepare(RATE, QUANTUM, QUANTUM, 1, 2)
        assert chain.spills
        run(chain, burst)
        chain.bank.set("slot/1/bypass", float(number))
        tails.append(run(chain, rest)[QUANTUM * 100 :])
    for left_in, left_out in zip(tails[0].T, tails[1].T, strict=True):
        assert level_db(left_out) > -60.0
        assert level_db(left_out) == pytest.approx(level_db(left_in), abs=1.0)


def test_wide_effects_are_freed_without_the_garbage_collector() -> None:
    """pyo has 256 servers, and the engine collects no garbage while it plays."""
    gc.collect()
    gc.disable()
    try:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # The lines of one delay take 6 MB.
        for name in WIDE * 45:
            play(prepared(name, channels=2), np.zeros((QUANTUM, 2), dtype=np.float32))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (1024**2 if MACOS else 1024)
        assert grown < 60.0
    finally:
        gc.enable()


def test_a_stereo_stream_can_follow_a_mono_one(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """One effect, prepared for one and then for two channels, and back."""
    # A graph that has played reads a fractional delay at another place of its line: here each has a new one.
    monkeypatch.setattr(Graphs, "renew", lambda *given: None)
    samples = noise(rng, QUANTUM * 100, level_dbfs=-15.0)
    effect = prepared("chorus", values=full("chorus", 1.0))
    mono = play(effect, samples)
    effect.prepare(StreamSpec(RATE, 2, 64 * QUANTUM))
    both = play(effect, twice(samples))
    assert np.array_equal(both[:, 0], mono)
    assert not np.allclose(both[:, 1], mono, atol=0.01)
    effect.prepare(StreamSpec(RATE, 1, 64 * QUANTUM))
    assert np.array_equal(play(effect, samples), mono)
