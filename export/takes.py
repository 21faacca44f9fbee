"""Guitar recordings to judge with: read from a folder, the loud part to play, the quiet part to take the noise from."""

import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.signal
import soxr

from .. import DuendeError
from .sound_file import read_samples

Float32 = npt.NDArray[np.float32]

SHORTEST_S, WHOLE_S, JUDGED_S = 2.0, 12.0, 8.0
QUIETEST_DBFS = -70.0
NOISE_S, LOUDEST_NOISE_DBFS, LOUDEST_FRAME_DBFS, QUIETEST_NOISE_DBFS = 2.0, -50.0, -44.0, -100.0
SAME_RECORDING = 0.98


def load_takes(path: Path, style: Float32, sample_rate: int = 48000) -> tuple[dict[str, Float32], list[str]]:
    """Recordings in a folder and its subfolders, or one file, mixed to mono at sample_rate, by name; and notices.

    Files that are no sound are passed over as `corpus.load_folder` does; those too short, silent, damaged or cut from
    the style clip itself are left out with a notice. DuendeError when nothing is left.
    """
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    elif path.is_file():
        files = [path]
    else:
        raise DuendeError(f"{path}: no such folder of guitar recordings")
    takes: dict[str, Float32] = {}
    notices: list[str] = []
    for file in files:
        title = file.name if path.is_file() else file.relative_to(path).as_posix()
        try:
            audio, rate = read_samples(file)
        except DuendeError:
            notices.append(f"{title}: not a readable sound file, left out")
            continue
        mono = np.ascontiguousarray(audio.mean(axis=1), dtype=np.float32)
        if rate != sample_rate and len(mono):
            mono = np.asarray(soxr.resample(mono, rate, sample_rate), dtype=np.float32)
        flaw = flaw_of(mono, sample_rate)
        if flaw is None and is_cut_from(mono, style, sample_rate):
            flaw = "is the style clip itself, or cut from it; give guitar recordings that the style was not made from"
        if flaw is None:
            takes[file.stem if file.stem not in takes else title] = mono
        else:
            notices.append(f"{title}: {flaw}, left out")
    if not takes:
        reason = notices[0].removesuffix(", left out") if notices else f"{path}: no sound files"
        more = f" (and {len(notices) - 1} more left out)" if len(notices) > 1 else ""
        raise DuendeError(f"no guitar to evaluate with: {reason}{more}")
    return takes, notices


def judged_stretch(take: Float32, sample_rate: int) -> Float32:
    """The loudest 8 s of a take of more than 12 s, else all of it."""
    return take if len(take) <= WHOLE_S * sample_rate else loudest_stretch(take, JUDGED_S, sample_rate)


def loudest_stretch(take: Float32, seconds: float, sample_rate: int) -> Float32:
    """The loudest so many seconds of a take, found in steps of 0.25 s; all of it where it is no longer."""
    size, step = round(seconds * sample_rate), round(0.25 * sample_rate)
    if len(take) <= size:
        return take
    energy = np.concatenate([[0.0], np.cumsum(take.astype(np.float64) ** 2)])
    starts = np.append(np.arange(0, len(take) - size, step), len(take) - size)
    best = starts[np.argmax(energy[starts + size] - energy[starts])]
    return take[best : best + size]


def quiet_stretch(take: Float32, sample_rate: int) -> Float32 | None:
    """The quietest 2 s of a take that are noise and no playing, None if there are none.

    Under -50 dBFS in all and -44 dBFS in each 50 ms, above -100 dBFS (else it is digital silence).
    """
    frame = round(0.05 * sample_rate)
    count = round(NOISE_S / 0.05)
    frames = len(take) // frame
    if frames < count:
        return None
    power = np.mean(take[: frames * frame].astype(np.float64).reshape(frames, frame) ** 2, axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(power, count)
    level, peak = 10.0 * np.log10(windows.mean(axis=1) + 1e-30), 10.0 * np.log10(windows.max(axis=1) + 1e-30)
    fit = (level < LOUDEST_NOISE_DBFS) & (peak < LOUDEST_FRAME_DBFS) & (level > QUIETEST_NOISE_DBFS)
    if not fit.any():
        return None
    start = int(np.argmin(np.where(fit, level, np.inf))) * frame
    return take[start : start + count * frame]


def flaw_of(take: Float32, sample_rate: int) -> str | None:
    """Why a take [samples] cannot be judged, as the rest of a sentence; None if it can."""
    if take.ndim != 1:
        raise ValueError(f"a take has shape {take.shape}: give one channel")
    if not np.isfinite(take).all():
        return "holds samples that are not numbers"
    if len(take) < SHORTEST_S * sample_rate:
        return f"{len(take) / sample_rate:.2f} s long, at least {SHORTEST_S:g} s are needed"
    if dbfs(take) < -70.0:
        return f"silent ({dbfs(take):.0f} dBFS, above -70 is needed)"
    return None


def is_cut_from(take: Float32, style: Float32, sample_rate: int) -> bool:
    """Whether the loudest second of the take occurs in the style clip, at any level: correlation above 0.98."""
    size = min(sample_rate, len(take), len(style))
    energy = np.concatenate([[0.0], np.cumsum(take.astype(np.float64) ** 2)])
    start = int(np.argmax(energy[size:] - energy[:-size]))
    piece = take[start : start + size].astype(np.float64)
    clip = style.astype(np.float64)
    product = scipy.signal.correlate(clip, piece, mode="valid", method="fft")
    local = np.concatenate([[0.0], np.cumsum(clip**2)])
    power = np.maximum(local[size:] - local[:-size], 1e-9) * np.dot(piece, piece)
    return bool((np.abs(product) / np.sqrt(power + 1e-30)).max() > SAME_RECORDING)


def dbfs(audio: npt.ArrayLike) -> float:
    """RMS in dB, 0 for RMS 1, -240 for silence."""
    return 10.0 * math.log10(float(np.mean(np.square(np.asarray(audio, dtype=np.float64)))) + 1e-24)
