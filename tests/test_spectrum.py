"""The spectrum: the level of what was played in its band, computed only while somebody looks."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from duende.engine.control.spectrum import BANDS, INPUT, OUTPUT, Bands, Spectrum
from sessions import tiny_session
from signals import tone

Float32 = npt.NDArray[np.float32]
SILENT = [-120.0] * BANDS


class Desk:
    """A spectrum, the rings that it hears, and who looks."""

    def __init__(self, folder: Path) -> None:
        self.shared = tiny_session(folder).shared
        self.rate = 48000.0
        session = tiny_session(folder / "again")
        session.shared = self.shared
        self.spectrum = Spectrum(session, lambda: self.rate)
        self.looks: set[str] = set()
        self.spectrum.looked = self.looks.__contains__

    def play(self, dry: Float32, wet: Float32) -> None:
        for block, result in zip(dry.reshape(-1, 128, 1), wet.reshape(-1, 128, 1), strict=True):
            self.shared.keep(block, result)

    def read(self) -> dict[str, list[float]]:
        return {address: [float(str(value)) for value in values] for address, values in self.spectrum.read()}


@pytest.mark.parametrize("rate", [44100.0, 48000.0, 88200.0, 96000.0, 192000.0])
def test_a_sine_stands_in_its_band(rate: float) -> None:
    bands = Bands(rate)
    assert np.all(np.diff(bands.centres_hz) > 0)
    time = np.arange(bands.size) / rate
    for hz in (110.0, 440.0, 1000.0, 5000.0, 15000.0):
        levels = bands.levels((0.5 * np.sin(2.0 * np.pi * hz * time))[:, None].astype(np.float32))
        # A sine between two bins loses at most 1.4 dB.
        assert levels.max() == pytest.approx(-6.0, abs=1.5)
        assert bands.centres_hz[levels.argmax()] == pytest.approx(hz, rel=0.08)
        far = np.abs(np.log2(bands.centres_hz / hz)) > 1.0
        assert levels[far].max() < levels.max() - 45.0


def test_the_louder_side_counts() -> None:
    bands = Bands(48000.0)
    left = tone(1000.0, bands.size, level_dbfs=-20.0)
    both = np.stack([left, 0 * left], axis=1)
    assert bands.levels(both) == pytest.approx(bands.levels(left[:, None]))
    assert bands.levels(np.stack([left, -left], axis=1)) == pytest.approx(bands.levels(left[:, None])), "no cancelling"


def test_no_number_is_no_level() -> None:
    bands = Bands(48000.0)
    rubbish = np.full((bands.size, 1), np.nan, dtype=np.float32)
    rubbish[::3] = np.inf
    levels = bands.levels(rubbish)
    assert np.isfinite(levels).all()


def test_nobody_looks_and_nothing_is_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(tmp_path)
    desk.play(tone(1000.0, 6400), tone(2000.0, 6400))
    monkeypatch.setattr(Bands, "levels", lambda *given: pytest.fail("nobody asked for it"))
    assert desk.read() == {}


def test_who_looks_is_sent_what_he_looks_at(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.play(tone(1000.0, 6400, level_dbfs=-6.0), tone(4000.0, 6400, level_dbfs=-20.0))
    desk.looks.add(OUTPUT)
    assert set(desk.read()) == {OUTPUT}
    desk.looks.add(INPUT)
    both = desk.read()
    centres = [float(str(hz)) for hz in desk.spectrum.centres()]
    assert centres[int(np.argmax(both[INPUT]))] == pytest.approx(1000.0, rel=0.05)
    assert centres[int(np.argmax(both[OUTPUT]))] == pytest.approx(4000.0, rel=0.05)
    assert max(both[INPUT]) == pytest.approx(-6.0, abs=1.5)
    desk.looks.clear()
    desk.spectrum.on = True
    assert set(desk.read()) == {INPUT, OUTPUT}


def test_what_stands_still_fades(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.looks |= {INPUT}
    assert desk.read() == {INPUT: SILENT}
    desk.play(tone(1000.0, 6400), tone(1000.0, 6400))
    first = desk.read()
    assert first != {INPUT: SILENT}
    shown = [desk.read() for _ in range(12)]
    assert shown[:9] == [first] * 9
    assert shown[-1] == {INPUT: SILENT}


def test_another_rate_has_other_bands(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    before = desk.spectrum.centres()
    desk.rate = 22050.0
    after = desk.spectrum.centres()
    assert len(before) == len(after) == BANDS
    assert float(str(after[-1])) < 0.45 * 22050.0 < float(str(before[-1]))
    desk.looks |= {INPUT}
    desk.play(tone(1000.0, 6400), tone(1000.0, 6400))
    assert len(desk.read()[INPUT]) == BANDS


def test_its_addresses(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    nodes = {node.address: node for node in desk.spectrum.nodes()}
    switch = nodes["/duende/spectrum"]
    assert switch.write is not None
    assert switch.read is not None
    switch.write([1])
    assert (switch.read(), desk.spectrum.on) == ([1], True)
    desk.play(tone(1000.0, 6400), tone(1000.0, 6400))
    for address in (INPUT, OUTPUT):
        read = nodes[address].read
        assert read is not None
        assert nodes[address].stream
        assert read() == read()
        assert len(read()) == BANDS
