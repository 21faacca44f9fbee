"""Whether a take can be learned from: plain words about what is wrong with it, and what to do."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import soundfile
import soxr

from ... import DuendeError
from .align import Alignment
from .signal import RATE, Layout
from .take import Take

Float32 = npt.NDArray[np.float32]

SHORTEST_S, LONGEST_S = 10.0, 1200.0
MOST_CHANNELS = 8
RATES = (8000, 384000)
TRAINED_RATES = (44100, 48000)
QUIETEST_DRY_DBFS, QUIETEST_WET_DBFS = -40.0, -50.0
SILENT_DBFS = -80.0
MOST_DIFFERENCE_S = 1.0
_CLIPPED, _RUN = 0.999, 3
_CLIPPED_RUNS = 20
_NOISY_DB = 40.0
_REPLICATE, _REPLICATE_BAD = 1e-3, 1e-2
_LEADING_SAMPLES, _LEADING_WITHOUT_BLIPS = 2.5, 48.0
_DRIFT_SAMPLES, _DRIFT_WITHOUT_PHRASE = 0.5, 8.0
_EXPANDED = 1.35
_DROPOUT_S = 0.05
_RESTING = 1e-3


@dataclass(frozen=True)
class Finding:
    """One sentence about a take, with the way out. fatal: nothing good can come of it."""

    text: str
    fatal: bool = False


def read_sound(path: Path, title: str) -> tuple[Float32, int]:
    """One channel of a sound file, float32 [samples], and its rate in Hz; title: DRY or WET, for errors.

    Two alike channels are one; of two of which one is silent, the other is taken. DuendeError for what is missing, not
    a sound, empty, under 10 s or over 20 minutes, of two different channels, or holds samples that are not numbers.
    """
    if not path.is_file():
        raise DuendeError(f"{title} {path}: no such file")
    try:
        with soundfile.SoundFile(path) as file:
            rate, channels, seconds = file.samplerate, file.channels, file.frames / max(1, file.samplerate)
            if not RATES[0] <= rate <= RATES[1]:
                raise DuendeError(f"{title} {path}: {rate} Hz is out of range: {RATES[0]} to {RATES[1]} Hz")
            if channels > MOST_CHANNELS:
                raise DuendeError(f"{title} {path}: {channels} channels: export the one with the guitar")
            if file.frames == 0:
                raise DuendeError(f"{title} {path}: the file is empty: record the take again")
            if not SHORTEST_S <= seconds <= LONGEST_S:
                raise DuendeError(
                    f"{title} {path}: {seconds:.1f} s long: {SHORTEST_S:g} s to {LONGEST_S / 60:g} minutes are needed, "
                    "two or three minutes are best"
                )
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise DuendeError(f"{title} {path}: not a readable sound file ({str(error).strip().rstrip('.')})") from error
    if not len(samples):
        raise DuendeError(f"{title} {path}: the file is empty: record the take again")
    if not np.isfinite(samples).all():
        raise DuendeError(f"{title} {path}: holds samples that are not numbers: export it again")
    return _one_channel(samples, f"{title} {path}"), rate


def read_pair(dry: Path, wet: Path) -> tuple[Float32, Float32, int, list[Finding]]:
    """Both files at one rate that NAM's players know, cut to one length, and what was done about it.

    DuendeError for different rates, and for lengths that differ by more than a second.
    """
    first, rate = read_sound(dry, "DRY")
    second, wet_rate = read_sound(wet, "WET")
    if rate != wet_rate:
        raise DuendeError(
            f"DRY has {rate} Hz and WET {wet_rate} Hz: record both at one rate, or export one of them again"
        )
    apart = (len(second) - len(first)) / rate
    if abs(apart) > MOST_DIFFERENCE_S:
        raise DuendeError(
            f"DRY is {len(first) / rate:.2f} s long and WET {len(second) / rate:.2f} s: they differ by more than "
            f"{MOST_DIFFERENCE_S:g} s; cut both to the same stretch of time"
        )
    findings = []
    if rate not in TRAINED_RATES:
        first, second = (np.asarray(soxr.resample(x, rate, RATE), dtype=np.float32) for x in (first, second))
        findings.append(Finding(f"the files have {rate} Hz: converted to {RATE} Hz, as captures have"))
        rate = RATE
    return first, second, rate, findings


def check_levels(dry: Float32, wet: Float32, sample_rate: int) -> list[Finding]:
    """Silence, too little level, clipping and gaps, of dry and wet [samples] as they were read."""
    findings = []
    for title, samples, quietest in (("DRY", dry, QUIETEST_DRY_DBFS), ("WET", wet, QUIETEST_WET_DBFS)):
        peak = _dbfs(float(np.abs(samples).max()))
        if peak < SILENT_DBFS:
            raise DuendeError(f"{title} is silent (its peak is {peak:.0f} dBFS): check the cable and the channel")
        if peak < quietest:
            findings.append(
                Finding(f"{title} is very quiet (peak {peak:.0f} dBFS): raise its level by {-6 - peak:.0f} dB")
            )
        runs = clipped_runs(samples)
        if runs:
            fatal = title == "WET" and runs > _CLIPPED_RUNS
            findings.append(
                Finding(f"{title} is clipped in {runs} places: turn {_KNOB[title]} down and record again", fatal)
            )
    return findings


_KNOB = {"DRY": "what plays it", "WET": "the recording level"}


def check_alignment(
    dry: Float32, wet: Float32, sample_rate: int, alignment: Alignment, plan: Layout | None
) -> list[Finding]:
    """Swapped files, drift and polarity."""
    milliseconds = 1000.0 * alignment.latency_samples / sample_rate
    findings = []
    leading = _LEADING_WITHOUT_BLIPS if plan is None else _LEADING_SAMPLES
    if alignment.latency_samples < -leading:
        findings.append(
            Finding(
                f"WET comes {-milliseconds:.2f} ms before DRY: are the two files swapped? Give DRY first; if they are "
                "not, move WET later",
                fatal=True,
            )
        )
    elif plan is None and _spread(dry, sample_rate) * _EXPANDED < _spread(wet, sample_rate):
        findings.append(
            Finding(
                "WET's level moves more than DRY's, and amplifiers do the opposite: are the two files swapped?", True
            )
        )
    bound = _DRIFT_WITHOUT_PHRASE if plan is None else _DRIFT_SAMPLES
    if abs(alignment.drift_samples) > bound:
        findings.append(
            Finding(
                f"WET drifts by {alignment.drift_samples:+.1f} samples ({alignment.drift_ppm:+.1f} ppm) over the take: "
                "player and recorder run on two clocks; play and record through the same interface",
                fatal=abs(alignment.drift_samples) > 4.0 * bound,
            )
        )
    if alignment.inverted and plan is None:
        findings.append(Finding("WET seems to be upside down against DRY; the capture keeps that"))
    return findings


def check_take(take: Take, plan: Layout | None) -> list[Finding]:
    """Noise, replicate error and gaps, of an aligned take."""
    findings = []
    signal = _rms(take.learned.of(take.wet))
    noise = noise_floor(take, plan)
    if noise > 0.0 and signal > 0.0:
        above = _dbfs(signal) - _dbfs(noise)
        if above < _NOISY_DB:
            findings.append(
                Finding(
                    f"WET's noise is only {above:.0f} dB below the playing: no capture learns noise: the error "
                    f"stays above {10.0 ** (-above / 10.0):.2g}; lower the gain, or look for hum"
                )
            )
    replicate = replicate_error(take, plan)
    if replicate is not None and replicate > _REPLICATE:
        findings.append(
            Finding(
                f"the same phrase was different the second time (error {replicate:.2g}): no capture can be closer "
                "than that; take out modulation, delay and reverb, leave the knobs alone, let the amplifier warm up",
                fatal=replicate > _REPLICATE_BAD,
            )
        )
    gaps = dropouts(take)
    if gaps:
        findings.append(
            Finding(f"WET falls silent {gaps} times while DRY plays: look for drop-outs and a gate", gaps > 3)
        )
    return findings


def clipped_runs(samples: Float32) -> int:
    """How many times three samples or more in a row stand at one value within 0.1 % of the largest."""
    peak = float(np.abs(samples).max())
    if peak < 0.5:
        return 0
    flat = (np.abs(samples) >= _CLIPPED * peak) & (np.abs(np.diff(samples, prepend=np.float32(2.0))) <= 1e-6)
    _, runs = scipy.ndimage.label(scipy.ndimage.binary_opening(flat, np.ones(_RUN - 1, dtype=bool)))
    return int(runs)


def noise_floor(take: Take, plan: Layout | None) -> float:
    """RMS of wet, without its offset, where nothing is played; 0 where there is always playing.

    In the signal's silence, else in the quietest half second of those in which dry is 60 dB below its level.
    """
    if plan is not None:
        return float(take.wet[plan.silence.start + take.sample_rate // 4 : plan.silence.stop].std())
    size = take.sample_rate // 2
    count = len(take.wet) // size
    dry, wet = (x[: count * size].reshape(count, size).std(axis=1) for x in (take.dry, take.wet))
    resting = wet[dry < _RESTING * _rms(take.dry)]
    return float(resting.min()) if len(resting) else 0.0


def replicate_error(take: Take, plan: Layout | None) -> float | None:
    """ESR between the two answers to the phrase that the signal plays twice; None for any other dry file."""
    if plan is None or plan.again.stop > len(take.wet):
        return None
    settled = take.sample_rate // 4
    first = plan.phrase.of(take.wet)[settled:].astype(np.float64)
    second = plan.again.of(take.wet)[settled:].astype(np.float64)
    return float(np.sum((first - second) ** 2) / (np.sum(first**2) + 1e-20))


def dropouts(take: Take) -> int:
    """How many times wet is silent for 50 ms while dry is not."""
    size = round(_DROPOUT_S * take.sample_rate)
    count = len(take.wet) // size
    dry, wet = (np.abs(x[: count * size]).reshape(count, size).max(axis=1) for x in (take.dry, take.wet))
    gone = (wet < 1e-6 * max(1e-3, float(wet.max()))) & (dry > 0.02 * dry.max())
    _, gaps = scipy.ndimage.label(gone)
    return int(gaps)


def _one_channel(samples: Float32, title: str) -> Float32:
    levels = np.abs(samples).max(axis=0)
    loudest = int(np.argmax(levels))
    chosen = np.ascontiguousarray(samples[:, loudest])
    for other in range(samples.shape[1]):
        apart = float(np.abs(samples[:, other] - chosen).max())
        if other != loudest and levels[other] > 1e-3 * levels[loudest] and apart > 1e-3 * levels[loudest]:
            raise DuendeError(
                f"{title}: its {samples.shape[1]} channels differ: export the one with the guitar as mono"
            )
    return chosen


def _spread(samples: Float32, sample_rate: int) -> float:
    """Deviation of the level in dB, over 50 ms, where there is something to hear."""
    size = round(0.05 * sample_rate)
    levels = np.sqrt(np.mean(samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64) ** 2, axis=1))
    heard = levels[levels > 1e-2 * levels.max()]
    return float(np.std(20.0 * np.log10(heard))) if len(heard) > 4 else 0.0


def _rms(samples: Float32) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if len(samples) else 0.0


def _dbfs(amplitude: float) -> float:
    return float(20.0 * np.log10(amplitude + 1e-12))
