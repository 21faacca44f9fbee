"""The latency benchmark: delays of synthetic cables, levels in plain words, and the way through JACK's dummy driver."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from duende import DuendeError
from duende.engine.bench.delay import NOISE_LEVEL, Probe, by_impulse, by_sequence, make_probe
from duende.engine.bench.latency import Way, measure_latency, stages
from duende.engine.bench.machine import describe_machine
from duende.engine.device import Callback, Float32
from duende.engine.preset import Rig
from duende.presets.format import FORMAT, Preset, SlotPreset
from duende.presets.library import HOME_VARIABLE, Library
from jackd import Server
from sessions import tiny_library

RATE = 48000.0
MACHINE = msgspec.structs.replace(describe_machine(), load=0.0)
TAPS = 129


@pytest.fixture(scope="module")
def probe() -> Probe:
    return make_probe(RATE)


def sinc(fraction: float) -> Float32:
    """Response of a delay of TAPS // 2 + fraction samples."""
    places = np.arange(TAPS) - TAPS // 2 - fraction
    return np.asarray(np.sinc(places) * np.kaiser(TAPS, 8.0), dtype=np.float32)


def through_cable(samples: Float32, delay: float, gain: float = 1.0) -> Float32:
    """Late by `delay` samples, TAPS // 2 and more."""
    whole = int(np.floor(delay))
    late = np.convolve(samples, sinc(delay - whole))
    start = whole - TAPS // 2
    return np.asarray(gain * np.concatenate([np.zeros(start), late])[: len(samples)], dtype=np.float32)


# -- delays ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay", [64.0, 256.0, 300.25, 731.5, 1000.75, 4321.1, 16000.9])
@pytest.mark.parametrize("gain", [1.0, -0.03])
def test_delays_are_found_to_a_fraction_of_a_sample(probe: Probe, delay: float, gain: float) -> None:
    heard = through_cable(probe.samples, delay, gain)
    for found in (by_sequence(probe, heard), by_impulse(probe, heard)):
        assert found.samples == pytest.approx(delay, abs=0.01)
        assert found.inverted is (gain < 0.0)
        assert found.gain_db == pytest.approx(20.0 * np.log10(abs(gain)), abs=0.2)
        assert found.clear_db > 40.0


@pytest.mark.parametrize("seed", range(5))
def test_the_sequence_is_heard_through_noise_as_loud_as_it(probe: Probe, seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = NOISE_LEVEL * rng.standard_normal(len(probe.samples))
    heard = through_cable(probe.samples, 512.3) + noise.astype(np.float32)
    assert by_sequence(probe, heard).samples == pytest.approx(512.3, abs=0.05)


def test_an_impulse_that_is_lost_in_noise_is_no_delay(probe: Probe) -> None:
    noise = 0.3 * np.random.default_rng(1).standard_normal(len(probe.samples))
    with pytest.raises(DuendeError, match="not what was played"):
        by_impulse(probe, (probe.samples + noise).astype(np.float32))


@pytest.mark.parametrize("rate", [44100.0, 96000.0])
def test_a_third_of_a_second_fits_at_every_rate(rate: float) -> None:
    probe = make_probe(rate)
    late = round(0.33 * rate)
    assert by_sequence(probe, through_cable(probe.samples, late)).samples == pytest.approx(late, abs=0.01)


def test_hum_and_a_bend_of_the_cable_do_not_matter(probe: Probe) -> None:
    hum = 0.05 * np.sin(2.0 * np.pi * 50.0 / RATE * np.arange(len(probe.samples)))
    heard = np.tanh(3.0 * through_cable(probe.samples, 200.5)) / 3.0 + hum
    assert by_sequence(probe, heard.astype(np.float32)).samples == pytest.approx(200.5, abs=0.05)


# -- levels, in plain words --------------------------------------------------------------------------------------------


def test_nothing_that_comes_back_is_said(probe: Probe) -> None:
    for level in (0.0, 1e-6):
        noise = level * np.random.default_rng(2).standard_normal(len(probe.samples))
        with pytest.raises(DuendeError, match="is the cable in"):
            by_sequence(probe, noise.astype(np.float32))


def test_another_sound_than_what_was_played_is_said(probe: Probe) -> None:
    noise = 0.1 * np.random.default_rng(2).standard_normal(len(probe.samples))
    with pytest.raises(DuendeError, match="not what was played"):
        by_sequence(probe, noise.astype(np.float32))


def test_clipping_is_said(probe: Probe) -> None:
    heard = np.clip(20.0 * through_cable(probe.samples, 100.0), -1.0, 1.0)
    with pytest.raises(DuendeError, match="clipped"):
        by_sequence(probe, heard)


def test_no_numbers_are_said(probe: Probe) -> None:
    heard = probe.samples.copy()
    heard[-5] = np.nan
    with pytest.raises(DuendeError, match="no numbers"):
        by_sequence(probe, heard)


# -- a wire and a chain ------------------------------------------------------------------------------------------------


class Cable:
    """A device whose output comes back late by `delay` samples, at any pace; loses a block now and then if asked."""

    latency_ms: float | None = 5.0
    inputs, outputs = 2, 2

    def __init__(self, delay: float, block: int, gain: float = 1.0, losses: int = 0, *, paced: bool = False) -> None:
        self.sample_rate, self.max_block = RATE, block
        self.block: int | None = block
        self._whole = int(np.floor(delay)) - TAPS // 2
        self._taps = gain * sinc(delay - np.floor(delay))
        self._losses, self._wait_s = losses, block / RATE if paced else 0.0
        self.running = False
        self._thread = threading.Thread(target=self._play)

    def start(self, callback: Callback) -> None:
        self._callback, self.running = callback, True
        self._thread.start()

    def stop(self) -> None:
        self.running = False
        self._thread.join()

    def _play(self) -> None:
        block = self.max_block
        out = np.zeros((block, 2), dtype=np.float32)
        line = np.zeros(self._whole + block, dtype=np.float32)
        memory = np.zeros(TAPS - 1 + block, dtype=np.float32)
        turn = 0
        while self.running:
            memory[:-block] = memory[block:]
            memory[-block:] = line[:block]
            heard = np.convolve(memory, self._taps, "valid").astype(np.float32)
            turn += 1
            lost = self._losses > 0 and turn % 500 == 0
            self._losses -= lost
            self._callback(np.stack([heard, 0.0 * heard], axis=1), out, lost, False)
            line[:-block] = line[block:]
            line[-block:] = out[:, 0]
            # A thread beside, as --safety has one, needs its time.
            time.sleep(self._wait_s)


def library_of(tmp_path: Path) -> Library:
    """One style; two styles, one after the other, and a cabinet between them."""
    library = tiny_library(tmp_path)
    solo = library.find("solo")
    slot = solo.read().slots[0]
    files = {slot.file: solo.read_file(slot)}
    library.save("two", Preset(FORMAT, "two", [slot, SlotPreset("cabinet", effect="4x12"), slot]), files)
    return library


@pytest.mark.parametrize(
    ("preset", "block", "safety", "added"),
    [("solo", 128, 0, [0, 128]), ("solo", 96, 0, [0, 224]), ("two", 256, 0, [0, 128, 128, 256]),
     ("solo", 128, 3, [384, 512])],
)  # fmt: skip
def test_a_chain_is_as_late_as_predicted(
    tmp_path: Path, preset: str, block: int, safety: int, added: list[int]
) -> None:
    chains = stages(library_of(tmp_path).find(preset))
    said: list[float] = []
    found = measure_latency(
        Cable(300.4 + 128, block, gain=-0.5, paced=safety > 0),
        (MACHINE, "a cable", preset),
        chains,
        1 if safety else 2,
        lambda text, share: said.append(share),
        safety=safety,
    )
    wire, *ways = found.ways
    assert wire.measured == pytest.approx(300.4 + 128 + block, abs=0.02)
    assert [way.predicted for way in ways] == added
    assert [way.measured for way in ways] == pytest.approx(added, abs=0.05)
    assert (found.passed, found.inverted) == (True, True)
    assert found.verdict().startswith(f"as predicted: {added[-1]} samples")
    assert found.gain_db == pytest.approx(-6.0, abs=0.3)
    assert said[0] <= said[-1] < 1.0
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


def test_where_it_is_later_than_predicted_is_said(tmp_path: Path) -> None:
    chains = stages(library_of(tmp_path).find("two"))

    def lying(make: Callable[[], Rig]) -> Callable[[], Rig]:
        def made() -> Rig:
            rig = make()
            prepare = rig.chain.prepare

            def prepared(*values: object) -> None:
                prepare(*values)  # type: ignore[arg-type]
                latency = rig.chain.latency
                (name, samples), *others = latency.slots
                rig.chain.latency = replace(latency, slots=((name, samples - 32), *others))

            setattr(rig.chain, "prepare", prepared)  # noqa: B010
            return rig

        return made

    false = [chains[0], *((name, lying(make)) for name, make in chains[1:])]
    found = measure_latency(Cable(200.0, 128), (MACHINE, "a cable", "two"), false, 1, lambda text, share: None)
    assert not found.passed
    assert found.verdict().startswith("not as predicted: with slot 1, ")
    assert "+32.00 samples beyond" in found.verdict()
    assert found.verdict().count("slot") == 1


def test_what_lost_samples_is_measured_again(tmp_path: Path) -> None:
    chains = stages(library_of(tmp_path).find("wire"))
    cable = Cable(200.0, 128, losses=2)
    found = measure_latency(cable, (MACHINE, "a cable", "wire"), chains, 3, lambda text, share: None)
    assert [way.predicted for way in found.ways] == [None, 0]
    assert found.passed
    with pytest.raises(DuendeError, match="lost samples in 10 measurements"):
        measure_latency(Cable(200.0, 64, losses=10**6), (MACHINE, "", "wire"), chains, 3, lambda text, share: None)


def test_without_a_cable_it_ends_in_a_line(tmp_path: Path) -> None:
    chains = stages(library_of(tmp_path).find("wire"))
    cable = Cable(200.0, 128, gain=0.0)
    with pytest.raises(DuendeError, match="nothing came back"):
        measure_latency(cable, (MACHINE, "", "wire"), chains, 1, lambda text, share: None)
    assert not cable.running


def test_a_way_is_judged_by_its_median() -> None:
    way = Way("x", 128, [500.0] * 3, [], [128.02, 127.95, 140.0])
    assert (way.measured, way.equal) == (128.02, True)
    assert way.spread == pytest.approx(12.05)
    assert not Way("x", 128, [500.0], [], [128.2]).equal


# -- JACK's dummy driver -----------------------------------------------------------------------------------------------

PERIOD = 512


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server(f"duende-latency-{os.getpid()}", PERIOD)
    running.start()
    yield running
    running.stop()


CABLE = """
import sys, time, jack
client = jack.Client("cable", no_start_server=True)
until = time.monotonic() + 60.0
while True:
    ins = client.get_ports("PortAudio.*", is_audio=True, is_input=True)
    outs = client.get_ports("PortAudio.*", is_audio=True, is_output=True)
    if ins and outs:
        break
    assert time.monotonic() < until
    time.sleep(0.05)
time.sleep(0.5)
for source in client.get_all_connections(ins[0]):
    client.disconnect(source, ins[0])
client.connect(outs[0], ins[0])
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.mark.live
def test_the_round_trip_through_jack(server: Server, tmp_path: Path) -> None:
    library_of(tmp_path)
    environment = server.environment | {HOME_VARIABLE: str(tmp_path)}
    cable = subprocess.Popen(
        [sys.executable, "-c", CABLE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    file = tmp_path / "latency.json"
    words = ["two", "--input", "system", "--block", str(PERIOD), "--times", "2", "--wait", "30", "--json", str(file)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "duende", "bench", "latency", *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        cable.communicate(timeout=20)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "as predicted: 256 samples" in done.stdout
    ways = json.loads(file.read_text())["ways"]
    # The dummy driver's own: two periods.
    assert ways[0]["sequence"] == pytest.approx([2.0 * PERIOD] * 2, abs=0.01)


@pytest.mark.live
def test_without_a_connection_jack_gives_nothing(server: Server, tmp_path: Path) -> None:
    library_of(tmp_path)
    environment = server.environment | {HOME_VARIABLE: str(tmp_path)}
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "duende", "bench", "latency", "wire", "--input", "system"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "is the cable in" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 2
    assert time.monotonic() - began < 40.0
