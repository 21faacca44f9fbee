"""Sound fonts: notes at the right pitch from the right zones, sets made from them, and hostile files."""

import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from duende import DuendeError
from duende.export.text.account import centroid_hz, fall_s, strong_harmonics, swaying, tail_s
from duende.export.text.font_notes import PROGRAMS, chosen_presets
from duende.export.text.nsynth import make_nsynth, read_nsynth
from duende.export.text.qualities import CONTRARY, Effects, drawn_qualities
from duende.export.text.sound_font import SoundFont
from duende.export.text.vocabulary import FAMILIES, SOURCES

Float32 = npt.NDArray[np.float32]

RATE = 32000
OWN_RATE = 22050
PERIOD = 100
LENGTH = 60 * PERIOD
KEY_RANGE, VELOCITY_RANGE, SAMPLE, MODES, ROOT, INSTRUMENT, ATTENUATION, RELEASE = 43, 44, 53, 54, 58, 41, 48, 38
Zone = list[tuple[int, int]]


def chunk(name: bytes, data: bytes) -> bytes:
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)


def named(text: str) -> bytes:
    return text.encode().ljust(20, b"\0")


def tables(heads: list[tuple[bytes, list[Zone]]], prefix: bytes, head: bytes, last: bytes) -> bytes:
    """A table of heads with its bags and generators, every table with the record that ends it."""
    rows, bags, gens = b"", b"", b""
    bag = gen = 0
    for before, zones in heads:
        rows += before + struct.pack("<H", bag) + last
        for zone in zones:
            bags += struct.pack("<HH", gen, 0)
            gens += b"".join(struct.pack("<HH", what, amount & 0xFFFF) for what, amount in zone)
            gen += len(zone)
            bag += 1
    rows += (named("end") + b"\0" * (len(heads[0][0]) - 20)) + struct.pack("<H", bag) + last
    bags += struct.pack("<HH", gen, 0)
    gens += b"\0" * 4
    return (
        chunk(head, rows)
        + chunk(prefix + b"bag", bags)
        + chunk(prefix + b"mod", b"\0" * 10)
        + chunk(prefix + b"gen", gens)
    )


def font_bytes(programs: tuple[int, ...] = (73, 24)) -> bytes:
    """Two looped samples at MIDI 60 (sawtooth, and its octave); a preset for each program, two zones by velocity."""
    place = np.arange(LENGTH) % PERIOD
    saw = (16000 * (2.0 * place / PERIOD - 1.0)).astype("<i2")
    octave = (16000 * (2.0 * (place * 2 % PERIOD) / PERIOD - 1.0)).astype("<i2")
    samples = np.concatenate([saw, np.zeros(46, "<i2"), octave, np.zeros(46, "<i2")]).tobytes()
    cents = round(1200 * np.log2(OWN_RATE / PERIOD / 261.6256))

    def heading(name: str, start: int) -> bytes:
        end = start + LENGTH
        where = struct.pack("<IIIII", start, end, start + 10 * PERIOD, end - 10 * PERIOD, OWN_RATE)
        return named(name) + where + struct.pack("<BbHH", 60 + round(cents / 100), 0, 0, 1)

    heads = heading("saw", 0) + heading("octave", LENGTH + 46) + named("EOS") + b"\0" * 26
    instruments = []
    presets = []
    for number, program in enumerate(programs):
        common = [(MODES, 1), (RELEASE, -2400)]
        soft = [(VELOCITY_RANGE, 0 | 63 << 8), (ATTENUATION, 100 * number), (SAMPLE, 0)]
        loud = [(VELOCITY_RANGE, 64 | 127 << 8), (SAMPLE, 1 if number == 0 else 0)]
        instruments.append((named(f"i{program}"), [common, soft, loud]))
        presets.append((named(f"p{program}") + struct.pack("<HH", program, 0), [[(INSTRUMENT, number)]]))
    pdta = tables(presets, b"p", b"phdr", b"\0" * 12) + tables(instruments, b"i", b"inst", b"") + chunk(b"shdr", heads)
    body = (
        chunk(b"LIST", b"INFO" + chunk(b"ifil", struct.pack("<HH", 2, 4)))
        + chunk(b"LIST", b"sdta" + chunk(b"smpl", samples))
        + chunk(b"LIST", b"pdta" + pdta)
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"sfbk" + body


def tuned(cents: int) -> float:
    """What rounding the root to a semitone leaves."""
    return float(2.0 ** ((cents - 100 * round(cents / 100)) / 1200.0))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("font") / "small.sf2"
    file.write_bytes(font_bytes())
    return file


def pitch_of(audio: Float32) -> float:
    """The strongest peak, Hz."""
    piece = audio[RATE // 2 : RATE // 2 + 2 * RATE]
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece))))
    return float(spectrum.argmax() / 2.0)


def test_a_note_has_its_keys_pitch_and_its_velocitys_sample(path: Path) -> None:
    font = SoundFont(path)
    assert [(one.name, one.program) for one in font.presets] == [("p24", 24), ("p73", 73)]
    flute = font.presets[1]
    off = tuned(round(1200 * np.log2(OWN_RATE / PERIOD / 261.6256)))
    for key in (48, 60, 67):
        wanted = 261.6256 * 2.0 ** ((key - 60) / 12.0) * off
        assert pitch_of(font.play(flute, key, 40, RATE, 3.0, 4.0)) == pytest.approx(wanted, rel=0.005)
        assert pitch_of(font.play(flute, key, 90, RATE, 3.0, 4.0)) == pytest.approx(2.0 * wanted, rel=0.005)
    assert font.reach(flute, 60, 100) == 3.0


def test_a_note_is_held_by_its_loop_and_let_go(path: Path) -> None:
    font = SoundFont(path)
    audio = font.play(font.presets[1], 60, 40, RATE, 3.0, 4.0)
    assert audio.shape == (4 * RATE,)
    held, gone = audio[2 * RATE : 3 * RATE], audio[round(3.3 * RATE) :]
    assert np.sqrt(np.mean(held**2)) > 0.1
    assert np.abs(gone).max() < 1e-4
    longer = font.play(font.presets[1], 60, 40, RATE, 3.0, 4.0, release_s=4.0)
    assert np.abs(longer[round(3.3 * RATE) :]).max() > 0.02
    quiet = font.play(font.presets[0], 60, 40, RATE, 3.0, 4.0)
    assert 20.0 * np.log10(np.abs(quiet).max() / np.abs(audio).max()) == pytest.approx(-4.0, abs=0.1)


def test_presets_of_the_same_samples_are_one_instrument(path: Path, tmp_path: Path) -> None:
    (tmp_path / "more.sf2").write_bytes(font_bytes((73, 24, 25, 127)))
    font = SoundFont(tmp_path / "more.sf2")
    # 24 and 25 play the sample that 73 plays when it is soft, 127 is a gun shot.
    assert [one.program for one in chosen_presets(font)] == [24, 73]
    assert all(source in SOURCES and family in FAMILIES for source, family, _ in PROGRAMS.values())


def test_a_set_of_a_font_has_dry_notes_and_notes_with_qualities(path: Path, tmp_path: Path) -> None:
    data = make_nsynth(tmp_path / "set", 2, 2, 3, 16000, font=path, variants=3)
    names = {note.instrument for note in data.notes}
    assert {"flute_acoustic_000", "guitar_acoustic_000"} < names
    assert len(names) == 4
    flute = [note for note in data.notes if note.instrument == "flute_acoustic_000"]
    assert len(flute) == 6
    assert sum(not note.qualities for note in flute) >= 2
    assert any(note.qualities for note in flute)
    # What our own synthesis adds is what the font has not.
    assert {"flute_acoustic", "guitar_acoustic"}.isdisjoint({name[:-4] for name in names if name[-3:] != "000"})
    again = make_nsynth(tmp_path / "again", 2, 2, 3, 16000, font=path, variants=3)
    assert [note.name for note in again.notes] == [note.name for note in data.notes]
    for one, other in zip(data.notes, again.notes, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()
    assert read_nsynth(tmp_path / "set").notes == data.notes
    with pytest.raises(DuendeError, match="0 to 5000 instruments"):
        make_nsynth(tmp_path / "other", -1, 2, font=path)


def test_qualities_are_heard_and_do_not_contradict() -> None:
    place = np.arange(4 * RATE) / RATE

    def play(semitones: int, release_s: float | None) -> Float32:
        f0 = 220.0 * 2.0 ** (semitones / 12.0)
        fall = np.exp(-np.maximum(0.0, place - 3.0) * 11.5 / (release_s or 0.2))
        wave = sum(np.sin(2.0 * np.pi * k * f0 * place) / k**2 for k in range(1, 8))
        return np.asarray(wave * fall * np.minimum(1.0, place / 0.01), dtype=np.float32)

    def with_(*qualities: str) -> Float32:
        return Effects.drawn(qualities, np.random.default_rng(1)).played(play, RATE, np.random.default_rng(2))

    plain = with_()
    assert centroid_hz(with_("bright"), RATE) > 1.2 * centroid_hz(plain, RATE)
    assert centroid_hz(with_("dark"), RATE) < 0.8 * centroid_hz(plain, RATE)
    assert fall_s(with_("fast_decay"), RATE) < 0.3 * fall_s(plain, RATE)
    assert strong_harmonics(with_("distortion"), RATE, 220.0) > 1.5 * strong_harmonics(plain, RATE, 220.0)
    assert tail_s(with_("long_release"), RATE) > 2.0 * tail_s(plain, RATE)
    assert tail_s(with_("reverb"), RATE) > 2.0 * tail_s(plain, RATE)
    assert swaying(with_("tempo-synced"), RATE) > 3.0 * swaying(plain, RATE)
    swell = with_("nonlinear_env")
    assert np.abs(swell[: RATE // 5]).max() < 0.3 * np.abs(swell).max()
    attack = with_("percussive")
    assert np.abs(attack[: RATE // 50]).max() > 1.5 * np.abs(attack[RATE : 2 * RATE]).max()
    second = with_("multiphonic")
    spectrum = np.abs(np.fft.rfft(second[RATE : 2 * RATE] * np.hanning(RATE)))
    between = max(spectrum[round(220.0 * 2.0 ** (step / 12.0))] for step in (3, 4, 6))
    assert between > 0.3 * spectrum[220]
    rng = np.random.default_rng(5)
    for _ in range(300):
        drawn = set(drawn_qualities(3, rng, ("fast_decay",)))
        assert "fast_decay" in drawn
        assert not any(set(pair) <= drawn for pair in CONTRARY)


def test_what_is_no_font_is_one_line(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    file = tmp_path / "bad.sf2"
    cases = {
        b"": "not a SoundFont",
        b"RIFF\0\0\0\0WAVE": "not a SoundFont",
        whole[:100]: "broken off|without",
        whole[: len(whole) - 40]: "broken off",
        whole.replace(b"shdr", b"xxxx"): "without its table shdr",
        whole.replace(b"smpl", b"xxxx"): "without samples",
        whole.replace(b"phdr" + struct.pack("<I", 3 * 38), b"phdr" + struct.pack("<I", 2 * 38 + 30)): "broken off|phdr",
    }
    for data, said in cases.items():
        file.write_bytes(data)
        with pytest.raises(DuendeError, match=said):
            SoundFont(file)
    with pytest.raises(DuendeError, match="No such file"):
        SoundFont(tmp_path / "none.sf2")
    beyond = whole.replace(struct.pack("<HH", INSTRUMENT, 1), struct.pack("<HH", INSTRUMENT, 900))
    file.write_bytes(beyond)
    with pytest.raises(DuendeError, match="instrument 900"):
        chosen_presets(SoundFont(file))
    beyond = whole.replace(struct.pack("<HH", SAMPLE, 1), struct.pack("<HH", SAMPLE, 77))
    file.write_bytes(beyond)
    with pytest.raises(DuendeError, match="sample 77"):
        chosen_presets(SoundFont(file))


def test_a_spoiled_font_plays_or_is_refused_but_does_no_more(path: Path, tmp_path: Path) -> None:
    whole = path.read_bytes()
    tail = whole.index(b"pdta")
    rng = np.random.default_rng(9)
    file = tmp_path / "spoiled.sf2"
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(tail, len(whole), 4):
            data[place] = int(rng.integers(0, 256))
        file.write_bytes(bytes(data))
        try:
            font = SoundFont(file)
            for preset in font.presets[:2]:
                assert np.isfinite(font.play(preset, 60, 100, 8000, 0.2, 0.3)).all()
        except DuendeError:
            refused += 1
    assert refused < 60
