"""The tuner: within 2 cents on plucked strings from E1 to E6, nothing where there is no note, and its addresses."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from scipy import signal

from duende.engine.control.namespace import Node, Values
from duende.engine.control.news import News
from duende.engine.control.osc import Message
from duende.engine.control.pitch import SPAN_S, Pitch, find_pitch, name_pitch
from duende.engine.control.tuner import Tuner
from duende.export.pluck import INSTRUMENTS, Note, render_notes, strum
from sessions import tiny_session
from signals import noise, tone

Float32 = npt.NDArray[np.float32]

E1, E6 = 28, 88
CENTS = 2.0
SILENCE = np.zeros(12000, dtype=np.float32)


def hz_of(semitone: float) -> float:
    return float(440.0 * 2.0 ** ((semitone - 69.0) / 12.0))


def cents(pitch: Pitch | None, hz: float) -> float:
    return float("inf") if pitch is None else float(1200.0 * np.log2(pitch.hz / hz))


def end_of_note(semitone: float, rate: float, instrument: str, rng: np.random.Generator) -> Float32:
    """A quarter of a second into a plucked note, noise at -50 dB beside it."""
    plain = replace(INSTRUMENTS[instrument], detune_cents=0.0)
    samples = render_notes([Note(0.0, 0.35, semitone)], plain, rate, 0.3, rng)
    level_dbfs = 10.0 * np.log10(np.mean(samples[-round(0.1 * rate) :].astype(np.float64) ** 2))
    return samples + noise(rng, len(samples), level_dbfs=level_dbfs - 50.0)


def weaken(samples: Float32, hz: float, rate: float) -> Float32:
    """The same with a lowest partial that is 24 dB weaker."""
    high_pass = signal.butter(2, 2.0 * hz, "high", fs=rate, output="sos")
    return np.asarray(signal.sosfilt(high_pass, samples), dtype=np.float32)


@pytest.mark.parametrize("rate", [44100.0, 48000.0])
@pytest.mark.parametrize("instrument", ["electric bridge", "nylon"])
def test_every_semitone_is_found_within_2_cents(instrument: str, rate: float, rng: np.random.Generator) -> None:
    errors = {}
    for semitone in range(E1, E6 + 1):
        samples = end_of_note(semitone, rate, instrument, rng)
        for kind, heard in (("plain", samples), ("weak", weaken(samples, hz_of(semitone), rate))):
            errors[semitone, kind] = cents(find_pitch(heard, rate), hz_of(semitone))
    worst = max(errors, key=lambda key: abs(errors[key]))
    assert abs(errors[worst]) <= CENTS, f"{worst}: {errors[worst]:.2f} cents"


def test_between_the_notes_it_says_how_far() -> None:
    for off in (-45.0, -10.0, 3.0, 45.0):
        hz = hz_of(45 + off / 100.0)
        samples = sum(
            (tone(hz * k, 12000, level_dbfs=-12.0 - 3.0 * k) for k in range(1, 8)), np.zeros(12000, np.float32)
        )
        pitch = find_pitch(samples, 48000.0)
        assert pitch is not None
        assert pitch.name == "A2"
        assert pitch.cents == pytest.approx(off, abs=0.2)
        assert pitch.confidence > 0.95


def test_stiff_strings_are_read_by_their_lowest_partial() -> None:
    """A period alone is several cents sharp here."""
    time = np.arange(12000) / 48000.0
    hz, stiffness = 110.0, 8e-4
    partials = [k * hz * np.sqrt((1 + stiffness * k**2) / (1 + stiffness)) for k in range(1, 11)]
    samples = sum(0.1 * np.sin(2 * np.pi * one * time + k) for k, one in enumerate(partials)).astype(np.float32)
    assert abs(cents(find_pitch(samples, 48000.0), hz)) < 0.5


def test_where_there_is_no_note_there_is_none(rng: np.random.Generator) -> None:
    band = signal.butter(2, (300.0, 600.0), "band", fs=48000.0, output="sos")
    hiss = noise(rng, 12000)
    sounds = [SILENCE, hiss, 1e-4 * tone(110.0, 12000)]
    sounds += [signal.sosfilt(band, hiss).astype(np.float32), np.cumsum(hiss) * np.float32(0.01)]
    sounds += [np.full(12000, np.nan, dtype=np.float32), tone(30.0, 12000), tone(1600.0, 12000)]
    for chord in ((52, 56, 59), (43, 50, 55, 59, 62, 67), (40, 47, 52, 56, 59, 64)):
        sounds.append(render_notes(strum(chord, 0.0, 0.9, 0.9), INSTRUMENTS["nylon"], 48000.0, 0.6, rng))
    assert [find_pitch(sound, 48000.0) for sound in sounds] == [None] * len(sounds)
    with pytest.raises(ValueError, match="100 samples: a pitch needs 10080"):
        find_pitch(np.zeros(100, dtype=np.float32), 48000.0)


def test_partials_of_no_string_are_no_note() -> None:
    """Periodic enough, but every other partial is 11 to 17 cents off."""
    orders = (1.0, 2.02, 3.0, 4.03, 5.0, 6.04)
    assert find_pitch(sum((tone(110.0 * k, 12000, level_dbfs=-20.0) for k in orders), SILENCE), 48000.0) is None
    whole = sum((tone(110.0 * round(k), 12000, level_dbfs=-20.0) for k in orders), SILENCE)
    assert find_pitch(whole, 48000.0) is not None


def test_a_note_in_noise_is_none_when_it_is_hardly_there(rng: np.random.Generator) -> None:
    clear = tone(220.0, 12000, level_dbfs=-20.0)
    assert find_pitch(clear + noise(rng, 12000, level_dbfs=-40.0), 48000.0) is not None
    assert find_pitch(clear + noise(rng, 12000, level_dbfs=-15.0), 48000.0) is None


def test_notes_have_names() -> None:
    named = {hz: name_pitch(hz, 1.0).name for hz in (41.2034, 82.4069, 130.813, 246.942, 440.0, 1318.51)}
    assert list(named.values()) == ["E1", "E2", "C3", "B3", "A4", "E6"]
    assert name_pitch(432.0, 1.0, reference_hz=432.0).cents == 0.0
    assert name_pitch(440.0, 1.0, reference_hz=432.0).cents == pytest.approx(31.8, abs=0.1)


class Desk:
    """A tuner on a session that hears what the test plays; `ticks` lets it listen."""

    def __init__(self, folder: Path) -> None:
        self.session = tiny_session(folder)
        self.news = News()
        self.streamed: list[Message] = []
        self.touched: list[str] = []
        self.news.streamed.append(self.streamed.extend)
        self.news.changed.append(self.touched.extend)
        self.tuner = Tuner(self.session, lambda: 48000.0, self.news, self._sleep)
        self.nodes: dict[str, Node] = {node.address: node for node in self.tuner.nodes()}

    async def _sleep(self, seconds: float) -> None:
        assert seconds == 0.05
        await asyncio.sleep(0)

    def play(self, samples: Float32) -> None:
        for block in samples.reshape(-1, 128, 1):
            self.session.shared.keep(block, 0.0 * block)

    def write(self, address: str, values: Values) -> None:
        node = self.nodes[address]
        assert node.write is not None
        node.write(node.check(values))

    async def ticks(self, count: int = 1) -> list[Message]:
        self.streamed.clear()
        while len(self.streamed) < count:
            await asyncio.sleep(0)
        return self.streamed[:count]


def test_it_streams_what_is_played_while_it_is_on(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    async def show() -> None:
        desk.play(tone(110.0, 128 * 100))
        await asyncio.sleep(0)
        assert desk.streamed == []
        desk.write("/duende/tuner", [1])
        assert desk.touched == ["/duende/tuner"]
        [heard] = await desk.ticks()
        assert heard.address == "/duende/tuner/pitch"
        assert heard.values[0] == "A2"
        assert heard.values[1:] == pytest.approx([0.0, 110.0], abs=0.1)
        read = desk.nodes["/duende/tuner/pitch"].read
        assert read is not None
        assert (await desk.ticks())[0].values == ["", 0.0, 0.0], "nothing came in since: no engine, no note"
        desk.write("/duende/tuner/reference", [430.0])
        desk.play(tone(110.0, 128 * 100))
        assert (await desk.ticks(2))[-1].values[0] in ("A2", "")
        desk.write("/duende/tuner", [0])
        await asyncio.sleep(0)
        desk.streamed.clear()
        for _ in range(5):
            await asyncio.sleep(0)
        assert desk.streamed == []
        assert read() == ["", 0.0, 0.0]

    asyncio.run(show())


def test_it_mutes_only_while_it_tunes_and_takes_back_only_its_own(tmp_path: Path) -> None:
    desk = Desk(tmp_path)

    async def show() -> None:
        desk.write("/duende/tuner/mute", [1])
        assert desk.session.get("mute") == 0.0
        desk.write("/duende/tuner", [1])
        assert desk.session.get("mute") == 1.0
        desk.write("/duende/tuner/mute", [0])
        assert desk.session.get("mute") == 0.0
        desk.write("/duende/tuner/mute", [1])
        desk.write("/duende/tuner", [0])
        assert desk.session.get("mute") == 0.0
        desk.session.set("mute", 1.0)
        desk.write("/duende/tuner", [1])
        desk.write("/duende/tuner", [0])
        assert desk.session.get("mute") == 1.0, "somebody else muted it"

    asyncio.run(show())


def test_the_reference_is_kept_within_bounds(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("/duende/tuner/reference", [500.0])
    assert desk.tuner.reference_hz == 450.0
    assert SPAN_S < 0.25
