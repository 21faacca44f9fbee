"""Cabinets: any file within bounds, at unity, without delay, against direct convolution; and none else.

Clicks are measured as in the tests of the chain: what a sine of 100 Hz leaves above 5 kHz.
"""

import asyncio
import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from scipy import signal

from duende import DuendeError, __main__
from duende.engine.cabinet import Cabinet
from duende.engine.chain import ITERATOR_BUFFER, Chain
from duende.engine.messages import Play, SlotPlan
from duende.engine.params import ParameterBank
from duende.engine.processor import StreamSpec, spill_samples
from duende.engine.response import Response, Responses, built_in_response, load_response
from duende.engine.shared import SharedState
from duende.engine.slots import make_processor
from duende.engine.telemetry import Telemetry
from duende.presets.cabinets import BUILT_IN, Cabinets
from duende.presets.library import HOME_VARIABLE
from memory import measure
from sessions import QuickEngine, tiny_session
from signals import impulse, noise, tone

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

RATE = 48000.0
BLOCKS = [1, 63, 64, 65, 128, 1000, 8192]


def decay(rng: np.random.Generator, frames: int, channels: int = 1) -> Float64:
    """Noise [frames, channels] that decays by 26 dB and begins with its peak."""
    out = rng.uniform(-0.5, 0.5, (frames, channels)) * np.exp(-3.0 * np.arange(frames) / frames)[:, None]
    out[0] = 0.9
    return np.asarray(out)


def write(path: Path, samples: Float64, rate: int = 48000, subtype: str | None = "DOUBLE") -> Path:
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


def response(rng: np.random.Generator, frames: int, channels: int = 1) -> Response:
    taps = decay(rng, frames, channels).T / np.sqrt(frames)
    return Response("test", taps.astype(np.float32), RATE)


def make_chain(*found: Response, block: int | None = None, most: int = 8192, channels: int = 1) -> Chain:
    shared = SharedState()
    cabinets = [("cabinet", Cabinet(lambda rate, one=one: one)) for one in found]  # type: ignore[misc]
    chain = Chain(ParameterBank(shared.pages[0]), Telemetry(shared), cabinets)
    chain.prepare(RATE, block, most, channels)
    return chain


def run(chain: Chain, samples: Float32, block: int) -> Float32:
    """Samples [n] or [n, channels] through a prepared chain."""
    frames = samples.reshape(len(samples), -1)
    out = np.empty_like(frames)
    for at in range(0, len(frames), block):
        chain.process(frames[at : at + block], out[at : at + block])
    return out.reshape(samples.shape)


def convolved(samples: Float32, taps: Float32) -> Float64:
    """Direct convolution in double precision."""
    return np.asarray(signal.convolve(samples.astype(np.float64), taps.astype(np.float64), "full", "direct"))


# -- playing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("taps", [48, 64, 1000, 3000])
def test_equals_direct_convolution_at_any_block_size(block: int, taps: int, rng: np.random.Generator) -> None:
    found, samples = response(rng, taps), noise(rng, 9000, level_dbfs=-20.0)
    chain = make_chain(found, block=block, most=block)
    assert chain.latency.samples == 0
    got = run(chain, samples, block)
    assert np.abs(got - convolved(samples, found.taps[0])[:9000]).max() <= 1e-5


def test_two_seconds_to_the_last_sample(rng: np.random.Generator) -> None:
    found, samples = response(rng, 96_000), impulse(100_000, at=1000, level=0.5)
    samples[[0, 2345]] = 0.25
    chain = make_chain(found)
    assert chain.tail_samples == 95_999
    wanted = signal.oaconvolve(samples.astype(np.float64), found.taps[0].astype(np.float64))[:100_000]
    assert np.abs(run(chain, samples, 1000) - wanted).max() <= 1e-5


@pytest.mark.parametrize("block", BLOCKS)
def test_an_impulse_is_heard_at_once(block: int, rng: np.random.Generator) -> None:
    chain = make_chain(response(rng, 500), block=block, most=block)
    for at in (0, 1, 63, 64, 700):
        chain.reset()
        got = run(chain, impulse(2000, at=at, level=0.5), block)
        assert int(np.argmax(np.abs(got) > 1e-4)) == at


def test_stereo_responses_and_streams(rng: np.random.Generator) -> None:
    one, two, samples = response(rng, 900), response(rng, 900, 2), noise(rng, 9000, level_dbfs=-20.0).reshape(-1, 2)
    for found in (one, two):
        got = run(make_chain(found, channels=2), samples, 100)
        for channel in range(2):
            wanted = convolved(samples[:, channel], found.taps[channel % len(found.taps)])[: len(samples)]
            assert np.abs(got[:, channel] - wanted).max() <= 1e-5
    mono = samples[:, 0].copy()
    wanted = convolved(mono, two.taps.mean(axis=0))[: len(mono)]
    assert np.abs(run(make_chain(two), mono, 100) - wanted).max() <= 1e-5


def test_silence_stays_silent_and_reset_forgets(rng: np.random.Generator) -> None:
    chain = make_chain(response(rng, 3000))
    silence = np.zeros(9000, dtype=np.float32)
    assert not run(chain, silence, 100).any()
    run(chain, noise(rng, 9000), 100)
    assert run(chain, silence, 100).any()
    chain.reset()
    assert not run(chain, silence, 100).any()


def above_5_khz(samples: Float32, start: int) -> float:
    """Peak of what is above 5 kHz from start until 150 ms after it, in dBFS."""
    high_pass = signal.firwin(1023, 5000.0, window=("kaiser", 12.0), pass_zero=False, fs=RATE)
    clicks = signal.oaconvolve(samples.astype(np.float64), high_pass, mode="same")
    peak = np.abs(clicks[start - 600 : start + int(0.15 * RATE)]).max()
    return 20.0 * float(np.log10(peak + 1e-12))


@pytest.mark.parametrize("block", [64, 480, 8192])
@pytest.mark.parametrize("levels", [(0.0, -40.0), (-40.0, 0.0), (-12.0, 6.0)])
def test_the_level_moves_without_clicks(block: int, levels: tuple[float, float]) -> None:
    chain = make_chain(built_in_response(RATE), block=block, most=block)
    chain.bank.set("slot/1/level", levels[0])
    chain.bank.jump()
    samples = tone(100.0, 5 * 16384, level_dbfs=-9.0)
    before = run(chain, samples[: 2 * 16384], block)
    chain.bank.set("slot/1/level", levels[1])
    after = run(chain, samples[2 * 16384 :], block)
    assert above_5_khz(np.concatenate([before, after]), 2 * 16384) <= -60.0
    loud = [20.0 * np.log10(np.sqrt(np.mean(part[-4800:].astype(np.float64) ** 2))) for part in (before, after)]
    assert loud[1] - loud[0] == pytest.approx(levels[1] - levels[0], abs=0.01)


@pytest.mark.parametrize("block", [64, 480, 8192])
@pytest.mark.parametrize(
    ("name", "edges"),
    [
        ("low-cut", (20.0, 1000.0)),
        ("low-cut", (300.0, 20.0)),
        ("high-cut", (20000.0, 1000.0)),
        ("high-cut", (1000.0, 9e3)),
    ],
)
def test_cuts_move_without_clicks(block: int, name: str, edges: tuple[float, float]) -> None:
    chain = make_chain(built_in_response(RATE), block=block, most=block)
    samples = tone(100.0, 5 * 16384, level_dbfs=-9.0)
    plain = run(chain, samples, block)
    chain.bank.set(f"slot/1/{name}", edges[0])
    chain.reset()
    before = run(chain, samples[: 2 * 16384], block)
    chain.bank.set(f"slot/1/{name}", edges[1])
    got = np.concatenate([before, run(chain, samples[2 * 16384 :], block)])
    assert above_5_khz(got, 2 * 16384) <= -60.0
    for part, edge in ((slice(2 * 16384 - 4800, 2 * 16384), edges[0]), (slice(-4800, None), edges[1])):
        off = edge == (20.0 if name == "low-cut" else 20000.0)
        sections = signal.butter(2, edge, "highpass" if name == "low-cut" else "lowpass", fs=RATE, output="sos")
        gain = 1.0 if off else float(np.abs(signal.sosfreqz(sections, [100.0], fs=RATE)[1][0]))
        loud = np.sqrt(np.mean(np.square([got[part], plain[part]], dtype=np.float64), axis=1))
        assert loud[0] / loud[1] == pytest.approx(gain, rel=2e-3)


def test_the_level_is_right_from_the_first_sample(rng: np.random.Generator) -> None:
    found, samples = response(rng, 300), noise(rng, 1000, level_dbfs=-20.0)
    chain = make_chain(found)
    run(chain, samples, 64)
    chain.bank.set("slot/1/level", -20.0)
    chain.reset()
    assert np.abs(run(chain, samples, 64) - 0.1 * convolved(samples, found.taps[0])[:1000]).max() <= 1e-5


@pytest.mark.parametrize(("seconds", "rings"), [(0.09, False), (0.2, True)])
def test_a_speaker_is_faded_out_and_a_room_rings_on(seconds: float, rings: bool) -> None:
    taps = np.zeros((1, 24_000), dtype=np.float32)
    taps[0, 0] = taps[0, round(seconds * RATE)] = 0.5
    cabinet = Cabinet(lambda rate: Response("echo", taps, RATE))
    cabinet.prepare(StreamSpec(RATE, 1, 64))
    assert (spill_samples(cabinet, RATE) > 0) == rings


@pytest.mark.parametrize("channels", [1, 2])
def test_playing_asks_for_no_array(channels: int, rng: np.random.Generator) -> None:
    cabinet = Cabinet(lambda rate: response(rng, 12_000))
    cabinet.prepare(StreamSpec(RATE, channels, 4096))
    block = noise(rng, 2000 * channels).reshape(2000, channels)
    out = np.empty_like(block)

    def call() -> None:
        cabinet.values[0] = -cabinet.values[0] or 6.0
        cabinet.values[1] = 500.0 if cabinet.values[1] == 20.0 else 20.0
        cabinet.values[2] = 5000.0 if cabinet.values[2] == 20000.0 else 20000.0
        cabinet.process(block, out)

    # As the chain does.
    before = np.setbufsize(ITERATOR_BUFFER)
    memory = measure(call, 50)
    np.setbufsize(before)
    assert memory.transient_bytes < 4096
    assert memory.kept_array_bytes == 0


# -- responses ---------------------------------------------------------------------------------------------------


def loudest_third_octave_db(taps: Float32, rate: float) -> float:
    """By sines: the mean power of 400 of them in each third-octave from 31.5 Hz to 16 kHz."""
    levels = []
    for step in range(28):
        centre = 31.5 * 2.0 ** (step / 3.0)
        hertz = np.linspace(centre * 2.0 ** (-1 / 6), centre * 2.0 ** (1 / 6), 400)
        levels.append(np.mean(np.abs(signal.freqz(taps, worN=hertz, fs=rate)[1]) ** 2))
    return 10.0 * float(np.log10(max(levels)))


@pytest.mark.parametrize("rate", [44100.0, 48000.0, 96000.0])
@pytest.mark.parametrize("ending", ["wav", "flac", "aiff"])
def test_the_loudest_third_octave_is_at_unity(
    ending: str, rate: float, tmp_path: Path, rng: np.random.Generator
) -> None:
    dull = signal.lfilter([0.05], [1.0, -0.95], decay(rng, 4800), axis=0)
    path = write(tmp_path / f"dull.{ending}", dull, subtype="PCM_24")
    found = load_response(path, rate)
    assert found.name == "dull"
    assert found.sample_rate == rate
    assert abs(loudest_third_octave_db(found.taps[0], rate)) <= 0.1


def test_at_its_own_rate_a_file_is_only_scaled(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = decay(rng, 4800, 2)
    samples[:, 0] *= 0.5
    found = load_response(write(tmp_path / "a.wav", samples), RATE)
    assert found.taps.shape == (2, 4800)
    assert np.abs(found.taps.T / found.taps[1, 0] - samples / samples[0, 1]).max() <= 1e-6
    assert loudest_third_octave_db(found.taps[0], RATE) < -2.0
    assert abs(loudest_third_octave_db(found.taps[1], RATE)) <= 0.1


@pytest.mark.parametrize("rates", [(44100, 48000.0), (96000, 44100.0), (22050, 48000.0), (44100, 96000.0)])
def test_other_rates_sound_the_same(rates: tuple[int, float], tmp_path: Path) -> None:
    """The built-in cabinet in a file of another rate, against the same made for the rate wanted."""
    there, here = rates
    path = write(tmp_path / "a.wav", built_in_response(float(there)).taps.T.astype(np.float64), there)
    found, wanted = load_response(path, here).taps[0], built_in_response(here).taps[0]
    hertz = np.geomspace(60.0, 8000.0, 300)
    got_db, wanted_db = (20 * np.log10(np.abs(signal.freqz(t, worN=hertz, fs=here)[1])) for t in (found, wanted))
    assert np.abs(got_db - wanted_db).max() <= 0.3
    assert abs(found[0]) > 0.9e-3 * np.abs(found).max()
    assert abs(int(np.argmax(np.abs(found))) - int(np.argmax(np.abs(wanted)))) <= 0.0005 * here


def test_leading_silence_goes_up_to_60_db_below_the_peak(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = decay(rng, 2400, 2)
    quiet = np.full((500, 2), 0.9 * 0.9e-3)
    plain = load_response(write(tmp_path / "plain.wav", samples), RATE)
    late = load_response(write(tmp_path / "late.wav", np.concatenate([quiet, samples])), RATE)
    assert np.array_equal(late.taps, plain.taps)
    heard = np.concatenate([quiet, samples])
    heard[100, 1] = 0.9 * 1.1e-3
    assert load_response(write(tmp_path / "heard.wav", heard), RATE).taps.shape == (2, 2800)


def test_longer_ones_are_faded_out_after_two_seconds(tmp_path: Path) -> None:
    constant = np.full((200_000, 1), 0.1)
    constant[0] = 0.5
    found = load_response(write(tmp_path / "long.wav", constant, subtype="PCM_16"), RATE)
    assert found.taps.shape == (1, 96_000)
    shape = found.taps[0] / found.taps[0, 1]
    assert np.abs(shape[1 : 96_000 - 2400] - 1.0).max() <= 1e-5
    assert shape[-1200] == pytest.approx(0.5, abs=0.01)
    assert abs(shape[-1]) <= 1e-5
    assert [notice for notice in found.notices if "longer than 2 s" in notice]
    assert not load_response(write(tmp_path / "fits.wav", constant[:96_000]), RATE).notices


def hostile(folder: Path, what: str) -> Path:
    path = folder / f"{what}.wav"
    samples = np.zeros((4800, 1))
    samples[0] = 0.5
    if what == "eight":
        write(path, np.repeat(samples, 8, axis=1))
    elif what == "empty":
        write(path, samples[:0])
    elif what == "short":
        write(path, samples[:47])
    elif what == "silent":
        write(path, 0.0 * samples)
    elif what == "nan":
        samples[17] = np.nan
        write(path, samples)
    elif what == "infinite":
        samples[17] = np.inf
        write(path, samples)
    elif what == "loud":
        write(path, 1e12 * samples)
    elif what == "late":
        write(path, np.concatenate([np.zeros((4 * 48000, 1)), samples]), subtype="PCM_16")
    elif what == "slow":
        write(path, samples, 100)
    elif what == "fast":
        write(path, samples, 768_000)
    elif what == "vorbis":
        path = folder / "vorbis.ogg"
        soundfile.write(path, samples, 48000, format="OGG", subtype="VORBIS")
    elif what == "text":
        path.write_bytes(b"RIFF is what it says" * 100)
    elif what == "nothing":
        path.write_bytes(b"")
    elif what == "folder":
        path.mkdir()
    elif what == "huge":
        path.touch()
        os.truncate(path, 2**40)
    elif what == "cut flac":
        path = write(folder / "cut.flac", np.random.default_rng(1).uniform(-0.5, 0.5, (48000, 1)), subtype="PCM_16")
        os.truncate(path, 30)
    elif what == "ultrasound":
        ring = np.sin(2 * np.pi * 40_000.0 * np.arange(19_200) / 192_000)
        write(path, (np.hanning(19_200) * ring)[:, None], 192_000)
    return path


REFUSED = {
    "eight": "eight.wav: 8 channels: mix it down",
    "empty": "empty.wav: length 0.00 ms is out of range: 1 ms to 2 s",
    "short": "short.wav: length 0.98 ms is out of range: 1 ms to 2 s",
    "silent": "silent.wav: is silent: peak 0",
    "nan": "nan.wav: holds samples that are no numbers",
    "infinite": "infinite.wav: holds samples that are no numbers",
    "loud": "loud.wav: is louder than 1e",
    "late": "late.wav: is silent within its first 3 s",
    "slow": "slow.wav: sample rate 100 Hz is out of range",
    "fast": "fast.wav: sample rate 768000 Hz is out of range",
    "vorbis": "vorbis.ogg: format OGG: convert it to wav, flac or aiff",
    "text": "text.wav: not a sound file",
    "nothing": "nothing.wav: not a sound file",
    "folder": "folder.wav: not a file",
    "huge": "huge.wav: 1048576 MB: .* 32 MB at most",
    "cut flac": "cut.flac: ",
    "ultrasound": "ultrasound.wav: next to nothing between 31.5 Hz and 16 kHz",
    "missing": "cannot read the cabinet missing.wav: No such file",
}


@pytest.mark.parametrize("what", REFUSED)
def test_files_that_do_not_do_are_refused_in_one_line(what: str, tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match=REFUSED[what]) as caught:
        load_response(hostile(tmp_path, what), RATE)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_millisecond_will_do(tmp_path: Path) -> None:
    samples = np.zeros((48, 1))
    samples[0] = 1.0
    assert np.abs(load_response(write(tmp_path / "a.wav", samples), RATE).taps - samples.T).max() <= 1e-6


def test_the_built_in_one_is_a_speaker() -> None:
    found = built_in_response(RATE)
    assert found.name == BUILT_IN
    assert np.array_equal(found.taps, built_in_response(RATE).taps)
    assert abs(loudest_third_octave_db(found.taps[0], RATE)) <= 0.1
    hertz = [40.0, 110.0, 1000.0, 2500.0, 10_000.0]
    low, box, middle, presence, high = 20 * np.log10(np.abs(signal.freqz(found.taps[0], worN=hertz, fs=RATE)[1]))
    assert low < -20.0
    assert high < -35.0
    assert min(box, middle, presence) > -12.0
    assert int(np.argmax(np.abs(found.taps))) < 48


def test_memory_is_what_carries_the_energy() -> None:
    taps = np.zeros((2, 1000), dtype=np.float32)
    taps[0, 0], taps[1, 99], taps[0, 500] = 1.0, 0.1, 1e-4
    assert Response("a", taps, RATE).memory_samples == 100


def test_responses_are_kept_until_the_file_changes(tmp_path: Path, rng: np.random.Generator) -> None:
    path, responses = write(tmp_path / "a.wav", decay(rng, 480)), Responses()
    first = responses.open(str(path), RATE)
    assert responses.open(str(path), RATE) is first
    assert responses.open(str(path), 44100.0) is not first
    assert responses.open("", RATE) is responses.open("", RATE)
    os.utime(path, ns=(1, 1))
    assert responses.open(str(path), RATE) is not first
    path.unlink()
    with pytest.raises(DuendeError, match=r"cannot read the cabinet a\.wav"):
        responses.open(str(path), RATE)


# -- library and slots -------------------------------------------------------------------------------------------


def test_cabinets_by_name(tmp_path: Path) -> None:
    cabinets = Cabinets(tmp_path / "cabinets")
    assert cabinets.entries() == {BUILT_IN: None}
    source = write(tmp_path / "My Cab (SM57).WAV", np.ones((48, 1)))
    assert cabinets.add(source) == "my-cab-sm57"
    assert cabinets.find("my-cab-sm57") == tmp_path / "cabinets" / "my-cab-sm57.wav"
    assert (tmp_path / "cabinets" / "my-cab-sm57.wav").read_bytes() == source.read_bytes()
    with pytest.raises(DuendeError, match=r"already: .*--force"):
        cabinets.add(source)
    flac = write(tmp_path / "b.flac", np.zeros((48, 1)), subtype="PCM_16")
    assert cabinets.add(flac, "my-cab-sm57", force=True) == "my-cab-sm57"
    assert cabinets.find("my-cab-sm57") == tmp_path / "cabinets" / "my-cab-sm57.flac"
    assert sorted(cabinets.entries()) == [BUILT_IN, "my-cab-sm57"]
    cabinets.remove("my-cab-sm57")
    assert list((tmp_path / "cabinets").iterdir()) == []
    with pytest.raises(DuendeError, match="built in"):
        cabinets.remove(BUILT_IN)
    with pytest.raises(DuendeError, match="built in"):
        cabinets.add(source, BUILT_IN)


@pytest.mark.parametrize("name", ["", "..", "../a", "a/b", "A", "a b", "-a", "x" * 64, "a\n", "/tmp/a"])
def test_names_of_cabinets_are_no_paths(name: str, tmp_path: Path) -> None:
    cabinets = Cabinets(tmp_path / "cabinets")
    source = write(tmp_path / "a.wav", np.ones((48, 1)))
    with pytest.raises(DuendeError, match="1 to 63 lower-case letters"):
        cabinets.add(source, name)
    with pytest.raises(DuendeError, match="no cabinet"):
        cabinets.find(name)
    with pytest.raises(DuendeError, match="no cabinet"):
        cabinets.remove(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav"]


def test_the_command_line_adds_lists_and_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], rng: np.random.Generator
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    source = write(tmp_path / "Mine.wav", decay(rng, 4800, 2))

    def duende(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["duende", "cabinet", *map(str, words)])
        try:
            __main__.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        said = capsys.readouterr()
        return status, said.out + said.err

    assert duende("add", source) == (0, "mine: 0.100 s, stereo: duende ctl slot/add cabinet:mine\n")
    status, said = duende("add", source)
    assert status == 1
    assert said.startswith("duende: there is a cabinet 'mine' already")
    assert duende("add", source, "--force")[0] == 0
    status, said = duende("list")
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == ["name", "4x12", "mine"]
    assert duende("remove", "mine") == (0, "removed mine\n")
    assert duende("remove", "mine") == (1, "duende: no cabinet 'mine'; there are: 4x12\n")
    assert duende("add", hostile(tmp_path, "silent"))[0] == 1
    assert list((tmp_path / "home" / "cabinets").iterdir()) == []


def test_a_slot_of_kind_cabinet_plays(tmp_path: Path, rng: np.random.Generator) -> None:
    path, responses = write(tmp_path / "a.wav", decay(rng, 480)), Responses()

    def no_model(path: str) -> None:
        raise AssertionError(path)

    for plan in (SlotPlan("4x12", "", "cabinet"), SlotPlan("a", str(path), "cabinet")):
        processor = make_processor(plan, no_model, responses.open, no_model)  # type: ignore[arg-type]
        processor.prepare(StreamSpec(RATE, 1, 64))
        out = np.zeros((64, 1), dtype=np.float32)
        processor.process(impulse(64)[:, None], out)
        taps = responses.open(plan.path, RATE).taps
        assert np.abs(out[:, 0] - taps[0, :64]).max() <= 1e-6
    with pytest.raises(DuendeError, match="2x12: no cabinet of that name is built in, only 4x12"):
        make_processor(SlotPlan("2x12", "", "cabinet"), no_model, responses.open, no_model)  # type: ignore[arg-type]


def test_a_session_adds_cabinets_by_name(tmp_path: Path, rng: np.random.Generator) -> None:
    session = tiny_session(tmp_path / "library")
    session.cabinets = Cabinets(tmp_path / "cabinets")
    session.cabinets.add(write(tmp_path / "mine.wav", decay(rng, 480)))
    asyncio.run(session.add_slot("cabinet:4x12"))
    asyncio.run(session.add_slot("cabinet:mine"))
    assert isinstance(session.engine, QuickEngine)
    order = session.engine.orders[-1]
    assert isinstance(order, Play)
    file = str(tmp_path / "cabinets" / "mine.wav")
    assert order.slots == [SlotPlan("4x12", "", "cabinet"), SlotPlan("mine", file, "cabinet")]
    assert session.set("slot/2/level", -6.0) == -6.0
    orders = len(session.engine.orders)
    for name, message in (("../mine", "no cabinet"), (file, "no cabinet"), ("none", "there are: 4x12, mine")):
        with pytest.raises(DuendeError, match=message):
            asyncio.run(session.add_slot(f"cabinet:{name}"))
    write(Path(file), np.zeros((480, 1)))
    with pytest.raises(DuendeError, match=r"mine\.wav: is silent"):
        asyncio.run(session.load_slot(1, "cabinet:mine"))
    assert len(session.engine.orders) == orders
