"""How far two sets of sounds are from each other: Fréchet and kernel distance over an embedding, with intervals.

The embedding is our own (`texture_statistics`), or a network that the user brings as an ONNX file. A figure is worth
something beside others of the same embedding alone, and is never to be called FAD or KAD: those names belong to theirs.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import scipy.fft

from .. import DuendeError
from ..engine.bands import erb_bands
from .sounds import QUIETEST_DBFS, level_dbfs, load_sound

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aif", ".aiff")
MOST_FILES = 10_000
LONGEST_S = 600.0
WINDOW_S, STEP_S = 1.0, 0.5
BANDS, RATES_HZ = 24, ((0.5, 4.0), (4.0, 10.0), (10.0, 25.0), (25.0, 60.0))
FEWEST_FILES = 3
"""Of a set, for an interval."""

MOST_MODEL_BYTES = 1 << 30
MOST_DIMENSIONS = 8192
_FRAME, _HOP = 1024, 256
_QUARTERS = 4


class Embedding(Protocol):
    """From a window of sound to a vector. name says what it is, so that figures of two embeddings are not mixed."""

    @property
    def name(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    def __call__(self, window: Float32) -> Float64:
        """Mono audio [samples] -> float64 [vectors, dimensions], one vector or more."""


class TextureStatistics:
    """68 numbers about one second, after McDermott and Simoncelli (2011), without filters that were learned.

    Log levels of 24 ERB bands (60 Hz to 18 kHz, 21 ms frames every 5.3 ms at 48 kHz), floored 60 dB under the loudest;
    in nepers, so that a difference of 1 means as much in each:
    24 means over time, less their own mean (spectrum without level);
    24 deviations over time;
    16 powers of modulation, four rates (0.5..4, 4..10, 10..25, 25..60 Hz) in four quarters of the bands: deviation of
    the band-passed log level, mean over the quarter's bands;
    4 correlations of neighbouring bands over time, mean over a quarter.
    """

    name = "duende texture statistics 1 (68)"
    sample_rate = 48000

    def __init__(self) -> None:
        self._bands = erb_bands(self.sample_rate, _FRAME, BANDS)
        self._window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)

    def __call__(self, window: Float32) -> Float64:
        frames = np.lib.stride_tricks.sliding_window_view(window, _FRAME)[::_HOP] * self._window
        power = np.abs(scipy.fft.rfft(frames, axis=1)[:, : self._bands.bins]) ** 2 @ self._bands.pooling
        level = 0.5 * np.log(np.maximum(power, 1e-6 * power.max() + 1e-20)).astype(np.float64)
        mean, deviation = level.mean(axis=0), level.std(axis=0)
        spectrum = np.fft.rfft(level - mean, axis=0)
        hz = np.fft.rfftfreq(len(level), _HOP / self.sample_rate)
        energy = np.abs(spectrum) ** 2 * 2.0 / len(level) ** 2
        quarters = np.array_split(np.arange(BANDS), _QUARTERS)
        rates = [np.sqrt(energy[(hz >= low) & (hz < high)].sum(axis=0)) for low, high in RATES_HZ]
        modulation = [float(rate[quarter].mean()) for rate in rates for quarter in quarters]
        flat = (level - mean) / np.maximum(deviation, 1e-3)
        near = (flat[:, 1:] * flat[:, :-1]).mean(axis=0)
        together = [float(near[quarter[quarter < BANDS - 1]].mean()) for quarter in quarters]
        return np.concatenate([mean - mean.mean(), deviation, modulation, together])[None]


class OnnxEmbedding:
    """A network that the user brings: VGGish, PANNs, CLAP or another, as one ONNX file.

    Input: one, float32, mono waveform within -1..1, of shape [samples], [1, samples] or [1, 1, samples], at
    sample_rate, one window of 1 s each time; a fixed number of samples is kept to by cutting or by zeros. Output: the
    first; its last axis is the vector, all others count as so many vectors. What a network wants beside that
    (log-mel frames, say) must be in the file.
    """

    def __init__(self, path: Path, sample_rate: int = 16000) -> None:
        import onnxruntime

        if not 4000 <= sample_rate <= 192000:
            raise DuendeError(f"--embedding-rate {sample_rate} is out of range: 4000 to 192000 Hz")
        try:
            if path.stat().st_size > MOST_MODEL_BYTES:
                raise DuendeError(f"{path}: larger than {MOST_MODEL_BYTES >> 20} MB; give a smaller network")
            data = path.read_bytes()
        except OSError as error:
            raise DuendeError(f"{path}: cannot be read ({error.strerror or error})") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise DuendeError(f"{path}: not a network that ONNX Runtime can run ({_short(error)})") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or not 1 <= len(inputs[0].shape) <= 3:
            raise DuendeError(f"{path}: it must have one input, a float32 waveform [samples] or [1, samples]")
        self._path, self._input, self.sample_rate = path, inputs[0].name, sample_rate
        self._rank = len(inputs[0].shape)
        last = inputs[0].shape[-1]
        self._length = last if isinstance(last, int) and last > 0 else None
        self.name = f"{path.name} (sha256 {hashlib.sha256(data).hexdigest()[:16]}, {sample_rate} Hz)"

    def __call__(self, window: Float32) -> Float64:
        audio = window
        if self._length is not None:
            audio = np.pad(window[: self._length], (0, max(0, self._length - len(window))))
        try:
            found = self._session.run(None, {self._input: audio.reshape((1,) * (self._rank - 1) + (-1,))})[0]
        except Exception as error:
            raise DuendeError(
                f"{self._path}: does not take a window of {len(audio)} samples ({_short(error)})"
            ) from error
        vectors = np.asarray(found, dtype=np.float64)
        if vectors.ndim < 1 or vectors.size == 0 or not np.isfinite(vectors).all():
            raise DuendeError(f"{self._path}: answers with no vector of numbers")
        if vectors.shape[-1] > MOST_DIMENSIONS:
            raise DuendeError(f"{self._path}: {vectors.shape[-1]} dimensions are too many: {MOST_DIMENSIONS} at most")
        return vectors.reshape(-1, vectors.shape[-1])


@dataclass(frozen=True)
class Set:
    """Vectors [count, dimensions] of a set of sounds, and the number of the file [count] that each comes from.

    silent: windows that were left out, of all windows.
    """

    vectors: Float64
    files: npt.NDArray[np.intp]
    names: tuple[str, ...]
    windows: int
    silent: int


@dataclass(frozen=True)
class Interval:
    """A figure, and the 2.5 and 97.5 % points of its bootstrap over files: nan where a set has fewer than three."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SetDistance:
    """frechet: 0 and more, biased upwards where there are few windows. kernel: MMD², unbiased, below 0 by chance.

    bandwidth: of the kernel, median distance within the first set.
    """

    embedding: str
    frechet: Interval
    kernel: Interval
    bandwidth: float
    first: Set
    second: Set
    notices: tuple[str, ...]


def set_distance(
    first: Path,
    second: Path,
    embedding: Embedding | None = None,
    *,
    rounds: int = 200,
    seed: int = 1,
    progress: Callable[[float], None] = lambda share: None,
) -> SetDistance:
    """Between the sounds of two folders, each 1 s to 10 min long. The first is the reference.

    rounds: of the bootstrap. DuendeError for folders without sounds, a sound that is silent or cannot be read (a
    distance would take silence for a sound: PANNs' stays good on sets that are silent throughout), and too many.
    """
    if not 0 <= rounds <= 10_000:
        raise DuendeError(f"--rounds {rounds} is out of range: 0 to 10000")
    used = embedding or TextureStatistics()
    paths = [_sounds(folder) for folder in (first, second)]
    whole = len(paths[0]) + len(paths[1])
    sets, done = [], 0
    for files in paths:
        one = embed(files, used, lambda count, before=done: progress((before + count) / whole))  # type: ignore[misc]
        sets.append(one)
        done += len(files)
    a, b = sets
    if a.vectors.shape[1] != b.vectors.shape[1]:
        raise DuendeError(f"{used.name}: vectors of {a.vectors.shape[1]} and {b.vectors.shape[1]} dimensions")
    return compare(a, b, used.name, rounds, seed)


def as_json(found: SetDistance) -> dict[str, Any]:
    """Plain data: embedding, frechet and kernel as {value, low, high} (null without an interval), bandwidth, first and
    second as {files, windows, silent}, notices."""

    def interval(one: Interval) -> dict[str, float | None]:
        return {key: value if math.isfinite(value) else None for key, value in asdict(one).items()}

    return {
        "embedding": found.embedding,
        "frechet": interval(found.frechet),
        "kernel": interval(found.kernel),
        "bandwidth": found.bandwidth,
        **{
            name: {"files": list(one.names), "windows": one.windows, "silent": one.silent}
            for name, one in (("first", found.first), ("second", found.second))
        },
        "notices": list(found.notices),
    }


def compare(first: Set, second: Set, name: str, rounds: int = 200, seed: int = 1) -> SetDistance:
    """`set_distance` of sets that are embedded already."""
    notices = []
    dimensions = first.vectors.shape[1]
    for one, title in ((first, "first"), (second, "second")):
        if len(one.vectors) < 2:
            raise DuendeError(f"the {title} set has {len(one.vectors)} windows of sound; two are the least")
        if len(one.vectors) < 2 * dimensions:
            notices.append(
                f"the {title} set has {len(one.vectors)} windows for {dimensions} dimensions: the Fréchet distance is "
                "too large by an unknown amount; look at the kernel distance"
            )
        if one.silent:
            notices.append(f"the {title} set: {one.silent} of {one.windows} windows are silent and left out")
        if len(one.names) < 2:
            notices.append(f"the {title} set is one file: its windows are taken as independent")
        if len(one.names) < FEWEST_FILES:
            notices.append(f"the {title} set has fewer than {FEWEST_FILES} files: there is no interval")
    bandwidth = _bandwidth(first.vectors)
    kernels = _Kernels(first, second, bandwidth)
    ones = np.ones(len(first.vectors)), np.ones(len(second.vectors))
    frechet, kernel = frechet_distance(first.vectors, second.vectors), kernels.distance(*ones)
    intervals = [(math.nan, math.nan)] * 2
    if rounds and min(len(first.names), len(second.names)) >= FEWEST_FILES:
        generator = np.random.default_rng([seed, 0xD157])
        drawn = np.empty((rounds, 2))
        for index in range(rounds):
            weights = _drawn(first, generator), _drawn(second, generator)
            samples = (np.repeat(s.vectors, w, axis=0) for s, w in zip((first, second), weights, strict=True))
            drawn[index] = frechet_distance(*samples), kernels.distance(*(w.astype(np.float64) for w in weights))
        low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
        intervals = [(float(low[place]), float(high[place])) for place in range(2)]
    return SetDistance(
        name,
        Interval(frechet, *intervals[0]),
        Interval(kernel, *intervals[1]),
        bandwidth,
        first,
        second,
        tuple(notices),
    )


def embed(paths: Sequence[Path], embedding: Embedding, report: Callable[[int], None] = lambda count: None) -> Set:
    """Vectors of 1 s windows every 0.5 s of all files, without those under -70 dBFS or 50 dB under their file."""
    rate = embedding.sample_rate
    size, step = round(WINDOW_S * rate), round(STEP_S * rate)
    vectors, files, windows, silent = [], [], 0, 0
    for number, path in enumerate(paths):
        audio = load_sound(path, rate, use="a set", longest_s=LONGEST_S)
        whole = level_dbfs(audio)
        audio = np.pad(audio, (0, max(0, size - len(audio))))
        for start in range(0, len(audio) - size + 1, step):
            part, windows = audio[start : start + size], windows + 1
            if level_dbfs(part) < max(QUIETEST_DBFS, whole - 50.0):
                silent += 1
                continue
            found = embedding(part)
            vectors.append(found)
            files += [number] * len(found)
        report(number + 1)
    return Set(np.concatenate(vectors), np.array(files, dtype=np.intp), tuple(p.name for p in paths), windows, silent)


def frechet_distance(first: Float64, second: Float64) -> float:
    """|m1 - m2|² + tr(S1 + S2 - 2 (S1 S2)^½) of Gaussians fitted to two sets [count, dimensions]: 0 and more.

    Dowson and Landau (1982). The root's trace is taken from the singular values of the product of both centred sets,
    so that no covariance needs to have full rank.
    """
    means = first.mean(axis=0), second.mean(axis=0)
    a, b = ((one - mean) / math.sqrt(max(len(one) - 1, 1)) for one, mean in zip((first, second), means, strict=True))
    # With S1 = a'a and S2 = b'b the eigenvalues of S1 S2 are the squares of the singular values of a b'.
    root = float(np.linalg.svd(_reduced(a) @ _reduced(b).T, compute_uv=False).sum())
    return max(0.0, float(((means[0] - means[1]) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2.0 * root))


def kernel_distance(first: Float64, second: Float64, bandwidth: float | None = None) -> float:
    """Unbiased squared maximum mean discrepancy of two sets [count, dimensions] under a Gaussian kernel.

    Gretton et al. (2012); bandwidth as in the kernel audio distance (2025): median distance within the first set.
    """
    a, b = (Set(one, np.arange(len(one)), tuple(map(str, range(len(one)))), len(one), 0) for one in (first, second))
    width = bandwidth if bandwidth is not None else _bandwidth(first)
    return _Kernels(a, b, width).distance(np.ones(len(first)), np.ones(len(second)))


class _Kernels:
    """Kernel matrices of two sets, to weigh their vectors anew at little cost.

    Windows of one file overlap and depend on each other: such pairs are left out, as a vector with itself is.
    """

    def __init__(self, first: Set, second: Set, bandwidth: float) -> None:
        self._within = [self._own(one, bandwidth) for one in (first, second)]
        self._between = np.exp(-_squares(first.vectors, second.vectors) / (2.0 * bandwidth**2))

    def distance(self, first: Float64, second: Float64) -> float:
        """MMD² with so many copies of each vector; nan where no pair is left."""
        total = -2.0 * float(first @ self._between @ second) / float(first.sum() * second.sum())
        for (kernel, apart), weight in zip(self._within, (first, second), strict=True):
            pairs = float(weight @ apart @ weight)
            total += float(weight @ kernel @ weight) / pairs if pairs > 0.0 else math.nan
        return total

    @staticmethod
    def _own(one: Set, bandwidth: float) -> tuple[Float64, Float64]:
        alone = len(one.names) < 2
        labels = np.arange(len(one.vectors)) if alone else one.files
        apart = (labels[:, None] != labels[None, :]).astype(np.float64)
        return np.exp(-_squares(one.vectors, one.vectors) / (2.0 * bandwidth**2)) * apart, apart


def _drawn(one: Set, generator: np.random.Generator) -> npt.NDArray[np.intp]:
    """How often each vector is in a draw of as many files with replacement, at least two different ones."""
    count = len(one.names)
    times = np.bincount(generator.integers(0, count, count), minlength=count)
    while np.count_nonzero(times) < 2:
        times = np.bincount(generator.integers(0, count, count), minlength=count)
    return np.asarray(times[one.files], dtype=np.intp)


def _bandwidth(vectors: Float64) -> float:
    """Median distance of different vectors, of 2000 at most; never 0."""
    some = vectors[:: max(1, len(vectors) // 2000)]
    above = np.triu_indices(len(some), 1)
    return max(float(np.median(np.sqrt(_squares(some, some)[above]))), 1e-9)


def _squares(first: Float64, second: Float64) -> Float64:
    """Squared distances [count, count]."""
    a, b = (first**2).sum(axis=1), (second**2).sum(axis=1)
    return np.asarray(np.maximum(a[:, None] + b[None, :] - 2.0 * first @ second.T, 0.0))


def _reduced(vectors: Float64) -> Float64:
    """At most as many rows as columns with the same scatter."""
    return vectors if len(vectors) <= vectors.shape[1] else np.asarray(np.linalg.qr(vectors, mode="r"))


def _sounds(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DuendeError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SOUNDS and path.is_file())
    found = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if not found:
        raise DuendeError(f"{folder}: no sound in it ({', '.join(SOUNDS)})")
    if len(found) > MOST_FILES:
        raise DuendeError(f"{folder}: {len(found)} sounds are too many: {MOST_FILES} at most")
    return found


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:120]
