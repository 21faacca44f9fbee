"""From spectra of excitations to features for a student, and from its answer to the gains of every bin.

The student sees how each band moves against its own slow average, never an absolute level, and answers with
log gains for whitened excitations. The spectrum of the style itself is added afterwards by a filter (`body.py`).

With P_k,b the power of excitation k in band b of a frame, l the input's level, S the slow averages of P and l (1.5 s,
held in rests, smoothed over 0.35 octave), and R_b the power response of the style's filter, law `mixer@2` is

    shape_k,b = log sqrt(S_k,b / S_l),   tilt_b = log sqrt(R_b / sum_b n_b R_b),
    g_k,b = r_k,b + clip(tilt_b - shape_k,b, +-B_k) - tilt_b,
    c = (gamma - 1) log(l / sqrt S_l) + d - log sqrt(sum_b n_b R_b sum_k exp(2 g_k,b + 2 shape_k,b)),
    gain_k,b = exp(g_k,b + c - max(0, log(sum_b n_b R_b sum_k P_k,b exp(2 (g_k,b + c)) / (BURST l^2)) / 2)),

where r, gamma and d come from the student. B is 24 dB for the dry path: with r = d = 0 and gamma = 1 the way is a
causal matched equaliser with the bounds of one, so a student starts there. Everything that balances levels is slow:
a balance struck in every frame pulls attacks about and costs onsets. The last term alone is quick: whitening takes a
click in a pure tone for music, and what is BURST louder than the input that made it is held there. `amount` scales all
logarithms of the dry path and c, and the other excitations linearly, so that amount 0 is the plain guitar.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .bands import Bands, erb_bands
from .excitation import emphasis_response
from .scalars import add_up, scalar
from .smoothing import powers_of_two
from .stft import StftSizes, windows

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]

SLOW_S = 1.5
SMOOTH_OCTAVES = 0.35
LEVEL_FLOOR = 1e-5
POWER_FLOOR = 1e-12
DRY_BOUND, OTHER_BOUND = 24.0 / 20.0 * math.log(10.0), 8.0
GAIN_RANGE = (-14.0, 8.0)
COMMON_RANGE = (-9.0, 5.0)
FINE_BINS, GROUP = 128, 4
FEW_ROWS = 3
# What lies under -50 dBFS is hum and hiss rather than playing, and moves the averages little.
REST_POWER = 1e-5
# Guitars, played, stay below 9 dB over their own level; a click in a low sine came out 15 to 25 dB over it.
BURST = 10.0 ** (9.0 / 10.0)
EXPECTED_DBFS, EXPECTED_WEIGHT = -45.0, 0.03


def feature_count(bands: int) -> int:
    """Features per frame: three per band, and log(l / sqrt S_l)."""
    return 3 * bands + 1


@dataclass
class Observation:
    """What one call of `Observer.process` saw; arrays live until the next call.

    features: float32 [1, frames, features], the student's input.
    power:    float32 [1, frames, excitations, bands].
    shape:    float32 [1, frames, excitations, bands].
    swing:    float32 [1, frames], log(l / sqrt S_l), clipped to -6..3.
    level:    float32 [1, frames], l squared.
    """

    features: Float32
    power: Float32
    shape: Float32
    swing: Float32
    level: Float32


def expected_shapes(names: Sequence[str], bands: Bands, sizes: StftSizes, sample_rate: float) -> Float64:
    """Band powers [excitations, bands] of a guitar in general at level 1, to begin the slow averages with.

    A power spectrum flat up to 600 Hz that then falls by 9 dB an octave; saturations fall by 6 from 1200 Hz on, the
    noise is white; pre-emphasised like all excitations.
    """
    hz = np.arange(bands.bins) * sample_rate / sizes.analysis
    emphasis = np.abs(emphasis_response(hz, sample_rate)) ** 2
    slopes = {"dry@1": 1.0 / (1.0 + (hz / 600.0) ** 3), "noise@1": np.ones(bands.bins)}
    saturated = 1.0 / (1.0 + (hz / 1200.0) ** 2)
    powers = []
    for name in names:
        power = slopes.get(name, saturated)
        powers.append((power * emphasis / (2.0 * np.sum(power) * sizes.factor / sizes.analysis)) @ bands.pooling)
    return np.asarray(powers)


class Observer:
    """Band powers, slow averages and features of a stream of excitation spectra.

    Channels are seen as one, by their mean power, so that all are played alike and the stereo image stays.

    expected: band powers [excitations, bands] at level 1 that the averages begin with, as if something as quiet as
    EXPECTED_DBFS had been played for a moment; None: they begin with the first sound, be it the pick-up's hum.
    """

    def __init__(
        self,
        bands: Bands,
        sizes: StftSizes,
        sample_rate: float,
        excitations: int,
        channels: int,
        max_frames: int,
        expected: Float64 | None = None,
    ) -> None:
        self._bands = bands
        count = bands.count
        self._single, self._groups = single, groups = _grouping(bands)
        self._pooling, self._smoothing, self._featuring = _observing(bands, sizes)
        self._rate = float(1.0 - np.exp(-sizes.hop / (SLOW_S * sample_rate)))

        self._used = used = single + GROUP * groups
        self._parts = np.zeros((channels, excitations, max_frames, 2 * used), dtype=np.float32)
        self._ones = np.ones((2 * GROUP, 1), dtype=np.float32)
        self._channels = channels
        self._reduced = np.zeros((channels, max_frames, excitations, single + groups), dtype=np.float32)
        self._linked = np.zeros((1, max_frames, excitations, single + groups), dtype=np.float32)
        shape = (1, max_frames, excitations, count)
        self._power, self._slow, self._smooth = (np.zeros(shape, dtype=np.float32) for _ in range(3))
        self._log_slow_level = np.zeros(max_frames, dtype=np.float32)
        self._swing, self._level = (np.zeros((1, max_frames), dtype=np.float32) for _ in range(2))
        self._joined = np.zeros((1, max_frames, 2 * count), dtype=np.float32)
        self._features = np.zeros((1, max_frames, feature_count(count)), dtype=np.float32)
        self._sum = np.zeros((excitations, count), dtype=np.float32)
        self._expected = np.zeros((excitations, count)) if expected is None else expected
        self._expected_weight = 0.0 if expected is None else EXPECTED_WEIGHT
        self._step = np.zeros((excitations, count), dtype=np.float32)
        self._level_sum = self._weight = 0.0
        self._share, self._keep, self._mean = scalar(), scalar(), scalar()
        self._per_channel = scalar(1.0 / channels)
        self._half, self._floor, self._swing_scale = scalar(0.5), scalar(POWER_FLOOR), scalar(1.0 / 1.5)
        self._lowest, self._highest = scalar(-6.0), scalar(2.5)
        self._views = {frames: self._view(frames) for frames in powers_of_two(max_frames)}
        self.reset()

    def process(self, spectra: Complex64, level: Float32) -> Observation:
        """Observe spectra [channels, excitations, frames, bins] and levels [channels, frames]."""
        frames = spectra.shape[2]
        view = self._views.get(frames)
        if view is None:
            view = self._views[frames] = self._view(frames)
        self._pool(spectra, view)
        self._average(view, level)
        self._describe(view)
        return view.observation

    def silence(self) -> Float32:
        """Features [features] of an input that has not sounded yet; forgets all averages."""
        self.reset()
        channels = self._channels
        spectra = np.zeros((channels, len(self._sum), 1, self._bands.bins), dtype=np.complex64)
        seen = self.process(spectra, np.zeros((channels, 1), dtype=np.float32))
        features = np.array(seen.features[0, 0])
        self.reset()
        return features

    def reset(self) -> None:
        """Forget all averages."""
        power = self._expected_weight * 10.0 ** (EXPECTED_DBFS / 10.0)
        self._sum[:] = power * self._expected
        self._level_sum, self._weight = power, self._expected_weight

    def adopt(self, other: "Observer") -> None:
        """Take over the averages of an observer of the same excitations and bands; else leave all as it is."""
        if self._sum.shape == other._sum.shape:
            self._sum[:] = other._sum
            self._level_sum, self._weight = other._level_sum, other._weight

    def _pool(self, spectra: Complex64, view: "_ObserverViews") -> None:
        """Band powers [1, frames, excitations, bands]."""
        # Squares of real and imaginary parts stand side by side: a bin is a pair of them, a group GROUP pairs.
        np.square(spectra[..., : self._used].view(np.float32), out=view.parts)
        np.add(view.fine_real, view.fine_imaginary, out=view.fine)
        np.matmul(view.grouped, self._ones, out=view.groups)
        if self._channels > 1:
            np.add.reduce(view.reduced, axis=0, out=view.linked[0])
            np.multiply(view.linked, self._per_channel, out=view.linked)
        _multiply(view.linked, self._pooling, view.power, view.rows)

    def _average(self, view: "_ObserverViews", level: Float32) -> None:
        """Advance the slow averages frame by frame, less where the input rests."""
        channels = len(level)
        total, weight = self._level_sum, self._weight
        sums, step = self._sum, self._step
        for frame, (power, slow) in enumerate(view.by_frame):
            square = 0.0
            for channel in range(channels):
                now = float(level[channel, frame])
                square += now * now
            square /= channels
            self._level[0, frame] = square
            share = self._rate * square / (square + 0.01 * total / (weight + 1e-9) + REST_POWER)
            keep = 1.0 - share
            total = keep * total + share * square
            weight = keep * weight + share
            self._share[()], self._keep[()], self._mean[()] = share, keep, 1.0 / (weight + 1e-9)
            np.multiply(power, self._share, out=step)
            np.multiply(sums, self._keep, out=sums)
            np.add(sums, step, out=sums)
            np.multiply(sums, self._mean, out=slow)
            log_level = math.log(math.sqrt(square) + LEVEL_FLOOR)
            log_slow = 0.5 * math.log(total / (weight + 1e-9) + LEVEL_FLOOR**2)
            self._log_slow_level[frame] = log_slow
            self._swing[0, frame] = min(3.0, max(-6.0, log_level - log_slow))
        self._level_sum, self._weight = total, weight

    def _describe(self, view: "_ObserverViews") -> None:
        shape, relative = view.shape, view.relative
        np.matmul(view.slow, self._smoothing, out=shape)
        np.add(shape, self._floor, out=shape)
        np.log(shape, out=shape)
        np.multiply(shape, self._half, out=shape)

        np.add(view.dry_power, self._floor, out=relative)
        np.log(relative, out=relative)
        np.multiply(relative, self._half, out=relative)
        np.subtract(relative, view.dry_shape, out=relative)
        np.maximum(relative, self._lowest, out=relative)
        np.minimum(relative, self._highest, out=relative)
        for own, log_slow_level in view.shapes:
            np.subtract(own, log_slow_level, out=own)
        view.joined_shape[...] = view.dry_shape
        np.matmul(view.joined, self._featuring, out=view.band_features)
        np.multiply(view.swing, self._swing_scale, out=view.swing_feature)

    def _view(self, frames: int) -> "_ObserverViews":
        """The memory for a number of frames, cut to size once."""
        single, groups, count = self._single, self._groups, self._bands.count
        parts, reduced = self._parts[:, :, :frames], self._reduced[:, :frames]
        by_frame = reduced.transpose(0, 2, 1, 3)
        power, shape, joined = self._power[:, :frames], self._smooth[:, :frames], self._joined[:, :frames]
        features = self._features[:, :frames]
        linked = self._linked[:, :frames] if self._channels > 1 else reduced
        return _ObserverViews(
            parts=parts,
            fine_real=parts[..., 0 : 2 * single : 2],
            fine_imaginary=parts[..., 1 : 2 * single : 2],
            fine=by_frame[..., :single],
            grouped=parts[..., 2 * single :].reshape(*parts.shape[:3], groups, 2 * GROUP),
            groups=by_frame[..., single:, None],
            reduced=reduced,
            linked=linked,
            power=power,
            rows=_rows(linked, power),
            by_frame=[(power[0, frame], self._slow[0, frame]) for frame in range(frames)],
            dry_power=power[:, :, 0],
            slow=self._slow[:, :frames],
            shape=shape,
            dry_shape=shape[:, :, 0],
            shapes=[(shape[0, frame], self._log_slow_level[frame, ...]) for frame in range(frames)],
            joined=joined,
            relative=joined[:, :, :count],
            joined_shape=joined[:, :, count:],
            band_features=features[:, :, :-1],
            swing_feature=features[:, :, -1],
            swing=self._swing[:, :frames],
            observation=Observation(features, power, shape, self._swing[:, :frames], self._level[:, :frames]),
        )


def _grouping(bands: Bands) -> tuple[int, int]:
    """How many bins stand alone, and how many groups of GROUP follow: where bands are wide, that saves products."""
    single = min(FINE_BINS, bands.bins)
    return single, (bands.bins - single) // GROUP


@functools.lru_cache(maxsize=8)
def _observing(bands: Bands, sizes: StftSizes) -> tuple[Float32, Float32, Float32]:
    """What observers multiply by: bins pooled to bands, bands smoothed, features. All of a kind share them."""
    count, (single, groups) = bands.count, _grouping(bands)
    grouped = bands.pooling[single : single + GROUP * groups].reshape(groups, GROUP, count).mean(axis=1)
    pooling = np.concatenate([bands.pooling[:single], grouped])
    members = np.concatenate([np.ones(single), np.full(groups, GROUP)])
    pooling /= (pooling * members[:, None]).sum(axis=0, keepdims=True)
    # Per Hz of the model's rate class: a bin of longer windows at a higher rate has the same power.
    energy = sizes.factor * float(np.sum(windows(sizes)[0] ** 2))
    octaves = np.log2(bands.centres_hz)
    kernel = np.exp(-0.5 * ((octaves[:, None] - octaves[None, :]) / SMOOTH_OCTAVES) ** 2)
    # Relative levels, the same less their mean over bands, and the dry shape less its mean: one product.
    centred = np.eye(count) - 1.0 / count
    zero = np.zeros((count, count))
    featuring = np.block([[np.eye(count) / 1.5, centred / 1.5, zero], [zero, zero, centred / 3.0]])
    return (
        np.ascontiguousarray(pooling / energy, dtype=np.float32),
        (kernel / kernel.sum(axis=0, keepdims=True)).astype(np.float32),
        featuring.astype(np.float32),
    )


@dataclass(frozen=True)
class _ObserverViews:
    """Views of an observer's memory for one number of frames: cutting them anew each time costs time and memory."""

    parts: Float32
    fine_real: Float32
    fine_imaginary: Float32
    fine: Float32
    grouped: Float32
    groups: Float32
    reduced: Float32
    linked: Float32
    power: Float32
    rows: list[tuple[Float32, Float32]]
    by_frame: list[tuple[Float32, Float32]]
    dry_power: Float32
    slow: Float32
    shape: Float32
    dry_shape: Float32
    shapes: list[tuple[Float32, Float32]]
    joined: Float32
    relative: Float32
    joined_shape: Float32
    band_features: Float32
    swing_feature: Float32
    swing: Float32
    observation: Observation


def _hold_within(values: Float32, bounds: tuple[Float32, Float32]) -> None:
    np.maximum(values, bounds[0], out=values)
    np.minimum(values, bounds[1], out=values)


def _rows(source: Float32, result: Float32) -> list[tuple[Float32, Float32]]:
    """Rows of source [1, .., n] and result [1, .., m], where they are so few that products row by row are quicker."""
    pairs = list(zip(source.reshape(-1, source.shape[-1]), result.reshape(-1, result.shape[-1]), strict=True))
    return pairs if len(pairs) <= FEW_ROWS else []


def _multiply(source: Float32, matrix: Float32, result: Float32, rows: list[tuple[Float32, Float32]]) -> None:
    """result = source matrix; rows: of both, from `_rows`."""
    for row, product in rows:
        row.dot(matrix, product)
    if not rows:
        np.matmul(source, matrix, out=result)


def band_widths(bands: Bands, sizes: StftSizes) -> Float64:
    """Share n_b [bands] of each band in the variance of a signal with power 1 in every bin."""
    return np.asarray(2.0 * bands.interpolation.sum(axis=1, dtype=np.float64) * sizes.factor / sizes.analysis)


class GainLaw:
    """Gains of every excitation and bin from a student's answer, for all channels; law `mixer@2`.

    Call `follow` first.
    """

    def __init__(self, bands: Bands, sizes: StftSizes, excitations: int, channels: int, max_frames: int) -> None:
        shape = (1, max_frames, excitations, bands.count)
        self._bands = bands
        self._widths = band_widths(bands, sizes).astype(np.float32)
        self._weights, self._tilt = np.zeros((2, bands.count), dtype=np.float32)
        self._gain, self._energy = np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=np.float32)
        self._band_energy = np.zeros((1, max_frames, bands.count), dtype=np.float32)
        self._bins = np.zeros((1, max_frames, excitations, bands.bins), dtype=np.float32)
        self._products = np.zeros((channels, max_frames, excitations, bands.bins), dtype=np.complex64)
        self._dry_bounds, self._other_bounds, self._gain_range = (
            (scalar(low), scalar(high))
            for low, high in ((-DRY_BOUND, DRY_BOUND), (-OTHER_BOUND, OTHER_BOUND), GAIN_RANGE)
        )
        self._amount, self._common = scalar(), scalar()
        self._views = {frames: self._view(frames) for frames in powers_of_two(max_frames)}

    def follow(self, response: Float32) -> None:
        """Take over the power response R [bands] of the filter that follows."""
        np.multiply(self._widths, response, out=self._weights)
        np.divide(response, float(np.add.reduce(self._weights)) + POWER_FLOOR, out=self._tilt)
        np.add(self._tilt, POWER_FLOOR, out=self._tilt)
        np.log(self._tilt, out=self._tilt)
        np.multiply(self._tilt, 0.5, out=self._tilt)

    def process(
        self, spectra: Complex64, seen: Observation, ratios: Float32, dynamics: Float32, amount: float, out: Complex64
    ) -> None:
        """Mix spectra [channels, excitations, frames, bins] into out [channels, frames, bins].

        ratios:   r [1, frames, excitations, bands].
        dynamics: (d, gamma) [1, frames, 2].
        """
        frames = ratios.shape[1]
        view = self._views.get(frames)
        if view is None:
            view = self._views[frames] = self._view(frames)
        gain, energy, dry, others = view.gain, view.energy, view.dry_gain, view.other_gains
        self._amount[()] = amount
        np.subtract(self._tilt, seen.shape, out=gain)
        _hold_within(dry, self._dry_bounds)
        _hold_within(others, self._other_bounds)
        np.subtract(gain, self._tilt, out=gain)
        np.add(gain, ratios, out=gain)
        _hold_within(gain, self._gain_range)
        if amount < 1.0:
            np.multiply(dry, self._amount, out=dry)
        np.exp(gain, out=gain)
        if amount < 1.0:
            np.multiply(others, self._amount, out=others)

        np.exp(seen.shape, out=energy)
        np.multiply(energy, gain, out=energy)
        np.multiply(energy, energy, out=energy)
        add_up(view.energies, view.band_energy)
        for frame, (own, band_energy) in enumerate(view.by_frame):
            predicted = float(band_energy.dot(self._weights))
            swing, gamma = float(dynamics[0, frame, 0]), float(dynamics[0, frame, 1])
            common = (gamma - 1.0) * float(seen.swing[0, frame]) + swing
            common -= 0.5 * math.log(predicted + POWER_FLOOR) if predicted < math.inf else math.inf
            common = min(COMMON_RANGE[1], max(COMMON_RANGE[0], common))
            self._common[()] = math.exp(amount * common)
            np.multiply(own, self._common, out=own)
        if amount > 0.0:
            self._hold(view, seen, amount)

        covered = self._bands.bins
        _multiply(gain, self._bands.interpolation, view.bins, view.rows)
        np.multiply(spectra[..., :covered].transpose(0, 2, 1, 3), view.bins, out=view.products)
        add_up(view.parts, out[:, :, :covered])
        if amount > 0.0:
            out[:, :, covered:] = 0.0
        if amount < 1.0:
            self._keep_top(spectra, amount, out)

    def _hold(self, view: "_LawViews", seen: Observation, amount: float) -> None:
        """Keep every frame's sound below BURST times the power of the input that makes it."""
        energy = view.energy
        np.multiply(view.gain, view.gain, out=energy)
        np.multiply(energy, seen.power, out=energy)
        add_up(view.energies, view.band_energy)
        for frame, (own, band_energy) in enumerate(view.by_frame):
            heard = float(band_energy.dot(self._weights))
            most = BURST * (float(seen.level[0, frame]) + LEVEL_FLOOR**2)
            if heard > most:
                self._common[()] = (most / heard) ** (0.5 * amount)
                np.multiply(own, self._common, out=own)

    def _view(self, frames: int) -> "_LawViews":
        gain, bins = self._gain[:, :frames], self._bins[:, :frames]
        energy, band_energy = self._energy[:, :frames], self._band_energy[:, :frames]
        products = self._products[:, :frames]
        excitations = range(gain.shape[2])
        return _LawViews(
            gain=gain,
            dry_gain=gain[:, :, 0],
            other_gains=gain[:, :, 1:],
            energy=energy,
            energies=[energy[:, :, one] for one in excitations],
            band_energy=band_energy,
            by_frame=[(gain[0, frame], band_energy[0, frame]) for frame in range(frames)],
            bins=bins,
            rows=_rows(gain, bins),
            products=products,
            parts=[products[:, :, one] for one in excitations],
        )

    def _keep_top(self, spectra: Complex64, amount: float, out: Complex64) -> None:
        """Bins above the bands belong to the dry path alone and fade with the amount."""
        covered, frames = self._bands.bins, out.shape[1]
        np.multiply(spectra[:, 0, :frames, covered:], np.float32(1.0 - amount), out=out[:, :, covered:])


@dataclass(frozen=True)
class _LawViews:
    """Views of a gain law's memory for one number of frames."""

    gain: Float32
    dry_gain: Float32
    other_gains: Float32
    energy: Float32
    energies: list[Float32]
    band_energy: Float32
    by_frame: list[tuple[Float32, Float32]]
    bins: Float32
    rows: list[tuple[Float32, Float32]]
    products: Complex64
    parts: list[Complex64]


@functools.lru_cache(maxsize=8)
def mixer_bands(sizes: StftSizes, sample_rate: float, count: int = 48) -> Bands:
    """The bands of law `mixer@2`: ERB from 60 Hz to 18 kHz. The same for all who ask, not to be changed."""
    return erb_bands(sample_rate, sizes.analysis, count=count, low_hz=60.0, high_hz=18000.0)
