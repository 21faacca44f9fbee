"""Effects: heard at once, any block the same, no clicks, silence kept, faults survived, nothing left behind.

The chain of these tests is the real one; what is measured for clicks is described in `test_chain.py`.
"""

import gc
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from duende import DuendeError
from duende.engine.chain import Chain
from duende.engine.denormals import flush_denormals
from duende.engine.fx import graph as graph_module
from duende.engine.fx.biquad import high_shelf, low_shelf, peak
from duende.engine.fx.effect import Effect
from duende.engine.fx.graph import Graph
from duende.engine.fx.graphs import QUANTUM, Graphs, Kind
from duende.engine.fx.processor import PyoEffect
from duende.engine.fx.table import EFFECTS, effect_controls
from duende.engine.manners import Turn
from duende.engine.params import SLOT_CONTROLS, ParameterBank
from duende.engine.processor import StreamSpec
from duende.engine.shared import SharedState
from duende.engine.telemetry import Telemetry
from effects import NARROW, level_db, play, prepared
from signals import amplitude, impulse, noise, tone
from waiting import wait_until

pytestmark = pytest.mark.fx

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

RATE = 48000.0
MACOS = sys.platform == "darwin"

# Where an effect leaves the sound as it is, or has another like it beside it.
NEUTRAL: dict[str, dict[str, float]] = {
    "gate": {"range": 0.0},
    "compressor": {"ratio": 1.0},
    "eq": {},
    "parametric": {},
    "overdrive": {"drive": 0.0, "asymmetry": 0.0, "tone": 16000.0},
    "distortion": {"drive": 0.0, "low-cut": 20.0, "tone": 16000.0},
    "chorus": {"wet": 0.0},
    "flanger": {"wet": 0.0},
    "phaser": {"wet": 0.0},
    "tremolo": {"depth": 0.0},
    "wah": {"wet": 0.0},
    "auto-wah": {"wet": 0.0},
    "delay": {"wet": 0.0},
    "reverb": {"wet": 0.0},
}


def chain_of(*effects: PyoEffect) -> Chain:
    shared = SharedState()
    return Chain(ParameterBank(shared.pages[0]), Telemetry(shared), [(effect.name, effect) for effect in effects])


def run(chain: Chain, samples: Float32, block: int) -> Float32:
    out = np.empty((len(samples), 1), dtype=np.float32)
    for at in range(0, len(samples), block):
        chain.process(samples[at : at + block, None], out[at : at + block])
    return out[:, 0]


@pytest.mark.parametrize("name", EFFECTS)
def test_controls_fit_a_slot_and_have_real_ranges(name: str) -> None:
    controls = effect_controls(name)
    assert 0 < len(controls) <= SLOT_CONTROLS
    assert len({control.name for control in controls}) == len(controls)
    for control in controls:
        assert control.minimum <= control.default <= control.maximum
        # Every slot has these itself; the chain multiplies a first control called amount.
        assert control.name not in ("mix", "bypass", "amount")


def test_controls_are_known_without_pyo() -> None:
    code = (
        "import sys; sys.modules['pyo'] = None; import duende.engine.slots as s;"
        "print(s.slot_controls('fx', 'delay', [])[0].name);"
        "from duende.engine.fx.processor import PyoEffect\n"
        "try: PyoEffect('delay')\n"
        "except Exception as e: print(e)"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert got.splitlines() == ["time", "effects need pyo: pip install 'duende[fx]'"]


def test_what_cannot_be_played_is_refused_in_one_line() -> None:
    with pytest.raises(DuendeError, match="no effect 'fuzz'; there are: gate, compressor"):
        PyoEffect("fuzz")
    for spec, text in ((StreamSpec(RATE, 3, 64), "3 channels"), (StreamSpec(44100.5, 1, 64), "whole number")):
        with pytest.raises(DuendeError, match=text):
            PyoEffect("eq").prepare(spec)


@pytest.mark.parametrize("rate", [44100.0, 96000.0])
@pytest.mark.parametrize("name", EFFECTS)
def test_an_impulse_is_heard_at_the_reported_latency(name: str, rate: float) -> None:
    effect = prepared(name, rate=rate, values=NEUTRAL[name])
    got = play(effect, impulse(QUANTUM * 100, at=3000, level=0.5))
    assert effect.latency_samples == 0
    assert np.abs(got[:3000]).max() < 1e-6
    assert abs(got[3000]) > 0.05


@pytest.mark.parametrize("name", EFFECTS)
def test_neutral_settings_leave_the_level(name: str) -> None:
    samples = tone(400.0, QUANTUM * 500, level_dbfs=-18.0)
    got = play(prepared(name, values=NEUTRAL[name]), samples)
    assert abs(level_db(got[QUANTUM * 100 :]) - level_db(samples)) < 0.5


def test_the_level_is_there_from_the_first_sample(rng: np.random.Generator) -> None:
    """A server of pyo fades in by itself."""
    samples = noise(rng, QUANTUM * 20)
    assert np.abs(play(prepared("eq"), samples) - samples).max() < 1e-4


@pytest.mark.parametrize("name", EFFECTS)
def test_silence_stays_silent_and_returns_within_the_tail(name: str, rng: np.random.Generator) -> None:
    effect = prepared(name)
    assert np.abs(play(effect, np.zeros(QUANTUM * 200, dtype=np.float32))).max() < 1e-6
    played = noise(rng, QUANTUM * 400, level_dbfs=-12.0)
    tail = -(-effect.tail_samples // QUANTUM) * QUANTUM
    got = play(effect, np.concatenate([played, np.zeros(tail + 100 * QUANTUM, dtype=np.float32)]))
    assert np.abs(got[: len(played)]).max() > 0.01
    assert np.abs(got[len(played) + tail :]).max() < amplitude(-80.0)


@pytest.mark.parametrize("name", EFFECTS)
def test_any_number_of_quanta_gives_the_same_samples(name: str, rng: np.random.Generator) -> None:
    samples = noise(rng, QUANTUM * 300, level_dbfs=-15.0)
    samples[5000:9000] = 0.0
    wanted = play(prepared(name), samples, [64])
    for quanta in ([1], [2], [1, 5, 3, 17]):
        assert np.array_equal(play(prepared(name), samples, quanta), wanted)


@pytest.mark.parametrize("name", EFFECTS)
def test_two_channels_are_two_single_ones_where_they_are_alike(name: str, rng: np.random.Generator) -> None:
    samples = noise(rng, QUANTUM * 300, level_dbfs=-15.0)
    wanted = play(prepared(name), samples)
    got = play(prepared(name, channels=2, values=NARROW[name]), np.stack([samples, samples], axis=1))
    assert np.abs(got - wanted[:, None]).max() < 1e-6


@pytest.mark.parametrize("name", ["gate", "compressor", "auto-wah"])
def test_what_follows_the_level_keeps_the_image(name: str, rng: np.random.Generator) -> None:
    loud = noise(rng, QUANTUM * 300, level_dbfs=-12.0)
    got = play(prepared(name, channels=2), np.stack([loud, 0.1 * loud], axis=1))
    assert np.abs(got[:, 1] - 0.1 * got[:, 0]).max() < 1e-6


def above_5_khz(samples: Float32) -> Float64:
    high_pass = signal.firwin(511, 4800.0, window=("kaiser", 12.3), pass_zero=False, fs=RATE)
    return np.asarray(signal.oaconvolve(samples.astype(np.float64), high_pass, mode="same"))


def click_dbfs(samples: Float32, start: int, stop: int) -> float:
    """Peak above 5 kHz."""
    return 20.0 * float(np.log10(np.abs(above_5_khz(samples)[start:stop]).max() + 1e-12))


CONTROLS = [(name, control.name) for name in EFFECTS for control in effect_controls(name)]


@pytest.mark.parametrize(("name", "control"), CONTROLS)
def test_no_control_clicks(name: str, control: str) -> None:
    """From its least to its largest value at once and back, while a sine of 100 Hz plays."""
    effect = PyoEffect(name)
    chain = chain_of(effect)
    if name == "delay" and control == "tempo":
        chain.bank.set("slot/1/beats", 0.5)
    if control == "low-cut":
        # At more drive the way between the two has harmonics of its own.
        chain.bank.set("slot/1/drive", 20.0)
    for bell in "1234":
        if control in (f"frequency{bell}", f"q{bell}"):
            chain.bank.set(f"slot/1/gain{bell}", 12.0)
    row = chain.bank.table.find(f"slot/1/{control}")[1]
    chain.bank.set(row.name, row.minimum)
    chain.prepare(RATE, QUANTUM, QUANTUM)
    part = 512 * QUANTUM
    samples = tone(100.0, 3 * part, level_dbfs=-12.0)
    got = [run(chain, samples[:part], QUANTUM)]
    chain.bank.set(row.name, row.maximum)
    got.append(run(chain, samples[part : 2 * part], QUANTUM))
    chain.bank.set(row.name, row.minimum)
    got.append(run(chain, samples[2 * part :], QUANTUM))
    whole = np.concatenate(got)
    steady = max(click_dbfs(whole, at * part - 9600, at * part - 600) for at in (1, 2))
    for change in (part, 2 * part):
        assert click_dbfs(whole, change - 300, change + 9600) <= max(-60.0, steady + 1.0)
    assert chain.telemetry.count("faults") == 0


def test_a_change_within_several_quanta_is_spread_over_them() -> None:
    effect = prepared("compressor", values={"ratio": 1.0})
    samples = tone(750.0, QUANTUM * 64, level_dbfs=-30.0)
    play(effect, samples[: QUANTUM * 32], [32])
    effect.values[4] = 20.0
    got = play(effect, samples[QUANTUM * 32 :], [32])
    levels = [level_db(part) - level_db(samples) for part in np.split(got, 32)]
    assert np.diff(levels).max() < 1.0
    assert levels[17] == pytest.approx(10.0, abs=1.0)


@pytest.mark.parametrize("name", EFFECTS)
@pytest.mark.parametrize("loud", [1.0, 100.0])
def test_loud_input_gives_finite_output(name: str, loud: float, rng: np.random.Generator) -> None:
    effect = prepared(name)
    for control, value in enumerate(control.maximum for control in effect.controls):
        effect.values[control] = value
    got = play(effect, np.float32(loud) * np.sign(noise(rng, QUANTUM * 500)))
    assert np.isfinite(got).all()
    assert np.abs(got).max() < 1e4 * loud


@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("name", EFFECTS)
def test_a_fault_is_survived(name: str, poison: float) -> None:
    """What is no number reaches the effect: the slot plays dry and the effect comes back."""
    effect = prepared(name)
    samples = tone(100.0, QUANTUM * 400, level_dbfs=-12.0)
    wanted = play(effect, samples)
    bad = samples.copy()
    bad[100] = poison
    with np.errstate(all="ignore"):
        play(effect, bad[: QUANTUM * 10])
    effect.reset()
    assert np.array_equal(play(effect, samples), wanted), "nothing is left of it"


@pytest.mark.parametrize("poison", [None, np.nan])
@pytest.mark.parametrize("name", EFFECTS)
def test_a_graph_that_was_used_plays_like_a_new_one_or_not_at_all(name: str, poison: float | None) -> None:
    effect = EFFECTS[name](RATE, QUANTUM, 2)
    rng = np.random.default_rng(3)
    loud = rng.uniform(-0.5, 0.5, (100, QUANTUM, 2)).astype(np.float32)

    def answer(graph: Graph) -> Float32:
        effect.reset()
        wires, heard = [0.0] * effect.wire_count, []
        for source in loud:
            effect.steer([control.default for control in effect.controls], 0.5, wires)
            graph.wires[:] = np.array(wires, dtype=np.float32)[:, None]
            graph.source[:] = source
            graph.run()
            heard.append(graph.result.copy())
        return np.concatenate(heard)

    wanted = answer(Graph(effect))
    used = Graph(effect)
    if poison is not None:
        used.source[:] = poison
        used.run()
    answer(used)
    with ThreadPoolExecutor(1, initializer=flush_denormals) as beside:
        renewed = beside.submit(used.renew, effect.forgets_s).result()
    assert renewed or poison is not None, used.result
    if renewed:
        # A fractional delay is read at another place of its line.
        assert np.allclose(answer(used), wanted, atol=2e-4, rtol=0.0)


def test_no_graphs_are_made_where_there_are_used_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = Graph.__init__

    def counted(graph: Graph, effect: Effect) -> None:
        made.append(effect)
        real(graph, effect)

    monkeypatch.setattr(Graph, "__init__", counted)
    graphs = Graphs()
    samples = tone(100.0, QUANTUM * 4, level_dbfs=-12.0)

    def all_in_silence() -> bool:
        return len(graphs._shelf._kept.get(Kind(EFFECTS["eq"], RATE, 1), ())) == 3

    for _ in range(12):
        effect = prepared("eq", graphs=graphs)
        first = play(effect, samples)
        effect.reset()
        while not effect._spares:
            time.sleep(0.01)
        second = play(effect, samples)
        assert np.array_equal(first, second)
        del effect
        wait_until(all_in_silence, "renewed")
    assert len(made) == 3


def test_graphs_are_renewed_while_it_is_not_the_turn_of_the_audio_thread() -> None:
    class Watched(Turn):
        def wait(self) -> None:
            waited.append(threading.current_thread())
            self.end()

    waited: list[threading.Thread] = []
    turn = Watched()
    graphs = Graphs(turn)
    effect = prepared("eq", graphs=graphs)
    play(effect, tone(100.0, QUANTUM, level_dbfs=-12.0))
    turn.begin(1e3)
    del effect
    kind = Kind(EFFECTS["eq"], RATE, 1)
    wait_until(lambda: len(graphs._shelf._kept.get(kind, ())) == 2, "renewed")
    assert waited
    assert threading.current_thread() not in waited


def test_graphs_that_wait_make_room_where_pyo_has_no_server_left(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = Graphs()
    prepared("eq", graphs=graphs)
    kept, real = graphs._shelf._kept, graph_module._server
    wait_until(lambda: any(kept.values()), "given back")

    def full(*given: Any) -> Any:
        if any(kept.values()):
            raise DuendeError("pyo has no server left")
        return real(*given)

    monkeypatch.setattr(graph_module, "_server", full)
    samples = tone(100.0, QUANTUM * 4, level_dbfs=-12.0)
    assert np.isfinite(play(prepared("wah", graphs=graphs), samples)).all()


SILENT = """
from duende.engine.fx.graph import Graph
from duende.engine.fx.graphs import Graphs, Kind
from duende.engine.fx.table import EFFECTS
made, real = [], Graph.__init__
Graph.__init__ = lambda graph, effect: (made.append(effect), real(graph, effect))[1]
graphs, wanted = Graphs(), 3 * 8 * len(EFFECTS)
for name in EFFECTS:
    for rate in (44100.0, 48000.0, 96000.0):
        for _ in range(8):
            graph = graphs.take(Kind(EFFECTS[name], rate, 2))
            # Once round all lines that are short enough to be read by fractions of a sample.
            for _ in range(60):
                graph.run()
                assert graph.silent, (name, rate)
assert wanted <= len(made) <= 1.1 * wanted, len(made)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="MALLOC_PERTURB_ is glibc's")
def test_no_effect_reads_what_was_never_written() -> None:
    """Freed memory is filled with what is no number; a graph that reads it is made once more."""
    environment = {**os.environ, "MALLOC_PERTURB_": "255"}
    done = subprocess.run([sys.executable, "-c", SILENT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_graph_that_begins_with_what_is_no_number_is_not_played(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def first_not(graph: Graph) -> bool:
        seen.append(graph)
        return len(seen) > 2

    monkeypatch.setattr(Graph, "clean", property(first_not))
    kind = Kind(EFFECTS["chorus"], RATE, 1)
    assert Graphs().take(kind) is seen[2]
    monkeypatch.setattr(Graph, "clean", property(lambda graph: False))
    with pytest.raises(DuendeError, match="no number"):
        Graphs().take(kind)


def test_no_server_left_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> Any:
        raise DuendeError("pyo has no server left")

    monkeypatch.setattr(graph_module, "_server", full)
    with pytest.raises(DuendeError, match="no server left"):
        prepared("chorus")


def test_a_fault_in_a_chain_is_heard_as_the_plain_sound() -> None:
    effect = PyoEffect("reverb")
    chain = chain_of(effect)
    chain.prepare(RATE, QUANTUM, QUANTUM)
    samples = tone(100.0, QUANTUM * 400, level_dbfs=-12.0)
    run(chain, samples, QUANTUM)
    process = effect.process

    def poisoned(block: Float32, out: Float32) -> None:
        process(block * np.float32(np.nan), out)

    effect.process = poisoned  # type: ignore[method-assign]
    with np.errstate(all="ignore"):
        got = run(chain, samples[: QUANTUM * 20], QUANTUM)
    effect.process = process  # type: ignore[method-assign]
    wait_until(lambda: bool(effect._spares), "a spare")
    rest = run(chain, samples, QUANTUM)
    assert np.isfinite(got).all()
    assert np.isfinite(rest).all()
    assert chain.telemetry.count("faults") >= 1
    assert chain.telemetry.count("failed") == 0
    assert not np.allclose(rest[-4800:], samples[-4800:], atol=1e-3), "the reverb is back"


def test_reset_builds_nothing_and_passes_the_input_on_until_a_graph_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    effect = prepared("wah")
    samples = tone(100.0, QUANTUM * 50, level_dbfs=-12.0)
    wanted = play(effect, samples)
    started = []
    real = Graph.__init__

    def slow(graph: Graph, *arguments: object) -> None:
        started.append(True)
        time.sleep(0.2)
        real(graph, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Graph, "__init__", slow)
    begun = time.perf_counter()
    effect.reset()
    assert np.array_equal(play(effect, samples), wanted)
    effect.reset()
    assert np.array_equal(play(effect, samples[:QUANTUM]), samples[:QUANTUM])
    assert time.perf_counter() - begun < 0.15, "nothing was waited for"
    wait_until(lambda: bool(effect._spares), "a spare")
    effect.reset()
    assert np.array_equal(play(effect, samples), wanted)


def test_effects_are_freed_without_the_garbage_collector() -> None:
    """pyo has 256 servers, and the engine collects no garbage while it plays."""
    gc.collect()
    gc.disable()
    try:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # The lines of one delay take 3 MB.
        for name in [*EFFECTS, "delay", "parametric"] * 18:
            play(prepared(name), np.zeros(QUANTUM, dtype=np.float32))
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (1024**2 if MACOS else 1024)
        assert grown < 40.0
    finally:
        gc.enable()


def magnitude_db(effect: PyoEffect, hz: Float64) -> Float64:
    got = play(effect, impulse(QUANTUM * 512, level=0.5))
    response = np.exp(-2j * np.pi * np.outer(hz, np.arange(len(got))) / RATE) @ (got / 0.5)
    return np.asarray(20.0 * np.log10(np.abs(response)))


def designed_db(coefficients: Sequence[float], hz: Float64) -> Float64:
    b0, b1, b2, a1, a2 = coefficients
    return np.asarray(20.0 * np.log10(np.abs(signal.freqz([b0, b1, b2], [1.0, a1, a2], hz, fs=RATE)[1])))


def test_equalisers_have_the_curves_they_say() -> None:
    hz = np.array([30.0, 100.0, 400.0, 700.0, 1600.0, 5000.0, 12000.0])
    wanted = designed_db(low_shelf(RATE, 120.0, 9.0), hz) + designed_db(peak(RATE, 700.0, 0.7, -6.0), hz)
    wanted += designed_db(high_shelf(RATE, 4000.0, -12.0), hz)
    assert (
        np.abs(magnitude_db(prepared("eq", values={"low": 9.0, "mid": -6.0, "high": -12.0}), hz) - wanted).max() < 0.1
    )
    assert wanted[0] > 8.0
    assert wanted[-1] < -11.0
    wanted = designed_db(peak(RATE, 1600.0, 4.0, 15.0), hz)
    assert np.abs(magnitude_db(prepared("parametric", values={"gain3": 15.0, "q3": 4.0}), hz) - wanted).max() < 0.1
    assert wanted[4] == pytest.approx(15.0, abs=0.01)


@pytest.mark.parametrize(("level", "wanted"), [(-40.0, -40.0), (-10.0, -20.0), (-4.0, -18.0)])
def test_compressor_follows_its_ratio(level: float, wanted: float) -> None:
    """A square wave: its level is its peak. Threshold -25 dB, 3:1."""
    effect = prepared("compressor", values={"threshold": -25.0, "ratio": 3.0, "attack": 1.0, "release": 1000.0})
    samples = amplitude(level) * np.sign(tone(100.0, QUANTUM * 400) + np.float32(1e-9))
    got = play(effect, samples.astype(np.float32))
    assert level_db(got[QUANTUM * 200 :]) == pytest.approx(wanted, abs=0.3)


def test_gate_shuts_out_hum_and_leaves_notes() -> None:
    hum, note = (tone(100.0, QUANTUM * 700, level_dbfs=level) for level in (-75.0, -30.0))
    assert level_db(play(prepared("gate"), hum)[-4800:]) < -115.0
    assert level_db(play(prepared("gate"), note)[-4800:]) == pytest.approx(level_db(note[-4800:]), abs=0.1)


@pytest.mark.parametrize(
    ("values", "distance"),
    [
        ({"time": 250.0}, 12000),
        ({"time": 20.0}, 960),
        ({"time": 250.0, "beats": 0.75, "tempo": 90.0}, 24000),
        ({"beats": 4.0, "tempo": 30.0}, 192000),
    ],
)
def test_echoes_come_exactly_when_they_should(values: dict[str, float], distance: int) -> None:
    effect = prepared("delay", values={"feedback": 0.5, "tone": 16000.0, "wet": 1.0, **values})
    got = play(effect, impulse(QUANTUM * (100 + 2 * distance // QUANTUM), level=0.5), [64])
    first, second = (np.abs(got[n * distance - 30 : n * distance + 30]) for n in (1, 2))
    assert np.flatnonzero(first > 0.05)[0] == 30
    assert second.max() == pytest.approx(0.5 * first.max(), rel=0.3)
    assert np.abs(got[10 : distance - 30]).max() < 1e-6


@pytest.mark.parametrize("decay", [0.8, 2.0, 5.0])
def test_reverb_rings_as_long_as_it_says(decay: float, rng: np.random.Generator) -> None:
    effect = prepared("reverb", values={"decay": decay, "tone": 16000.0, "wet": 1.0})
    burst = noise(rng, QUANTUM * 300)
    rest = np.zeros(round(decay * RATE / QUANTUM) * QUANTUM, dtype=np.float32)
    got = play(effect, np.concatenate([burst, rest]), [64])[len(burst) :]
    edge = len(got) // 8
    fallen = level_db(got[edge : 2 * edge]) - level_db(got[-edge:])
    assert fallen == pytest.approx(60.0 * 6.0 / 8.0, rel=0.25)


@pytest.mark.parametrize("decay", [0.6, 1.8, 8.0])
def test_a_full_reverb_is_as_loud_as_what_is_played(decay: float, rng: np.random.Generator) -> None:
    samples = noise(rng, QUANTUM * 1500, level_dbfs=-20.0)
    effect = prepared("reverb", values={"decay": decay, "wet": 1.0})
    room = (play(effect, samples, [64]) - samples)[QUANTUM * 750 :]
    assert level_db(room) == pytest.approx(-20.0, abs=3.0)


@pytest.mark.parametrize("name", ["overdrive", "distortion"])
def test_drive_changes_the_sound_and_not_the_level(name: str) -> None:
    samples = tone(400.0, QUANTUM * 400, level_dbfs=-15.0)
    levels = []
    for drive in (0.0, 15.0, 30.0, 40.0):
        got = play(prepared(name, values={"drive": drive, "tone": 16000.0}), samples)[QUANTUM * 100 :]
        levels.append(level_db(got))
        if drive >= 30.0:
            spectrum = np.abs(np.fft.rfft(got[:19200] * np.hanning(19200)))
            assert spectrum[480] > 0.1 * spectrum[160], "the third harmonic of 400 Hz"
    assert max(levels) - min(levels) < 1.5


@pytest.mark.parametrize("name", ["chorus", "flanger", "phaser", "tremolo", "auto-wah"])
def test_a_successor_goes_on_in_step(name: str) -> None:
    samples = tone(100.0, QUANTUM * 600, level_dbfs=-12.0)
    # Softer shortly before the change: what follows the level is on its way.
    samples[QUANTUM * 265 :] *= np.float32(0.1)
    wanted = play(prepared(name), samples)
    first, second = prepared(name), prepared(name)
    half = QUANTUM * 300
    play(first, samples[:half])
    warm = QUANTUM * 30
    second.adopt(first, warm)
    play(second, samples[half - warm : half])
    got = play(second, samples[half:])
    assert np.abs(got[QUANTUM * 20 :] - wanted[half + QUANTUM * 20 :]).max() < 2e-3
