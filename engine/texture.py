"""A distilled texture as a processor: free log magnitudes with phases of their own, and noise, at the player's level.

A *mixer* keeps the player's pitches; a *texture* (rain, a crowd, a drone) brings its own. The student sees the
input's log magnitudes relative to a slow average S of its level (1.5 s, held in rests) and answers, for every bin k,
with log magnitudes r_1 of a *tone*, whose phases `phase.py` reconstructs, and r_2 of *noise*, which has natural ones.
With l the input's quick level, s = log(l / S), and (d, gamma) from the student, law `texture@1` is

    Y_k = exp(c) (exp(r_1,k + i phi_k) + exp(r_2,k) N_k),
    c = log S + h(s) + d - 1/2 log sum_k (exp 2 r_1,k + exp 2 r_2,k),
    h(s) = gamma s between -1.4 and 1 nepers, of slope 1 above (attacks) and 2 below (rests).

The answer counts only as a shape: the level is the player's by construction, silence in is silence out, and hum of
pick-ups stays below itself. An input that is 12 dB louder gives the same sound 12 dB louder.

At 88.2 and 96 kHz windows and hop are twice as long, and the student sees and answers the bins of its own rate.

Grains are Hann frames of which a Hann-shaped middle of two hops is heard, so the delay is one hop as in a mixer: as
the phases are not the input's, a frame need not wait for the samples that its window would cover.
"""

import functools
import math

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

from .fourier import RealTransform
from .history import History
from .phase import PhaseReconstruction
from .processor import Processor, StreamSpec
from .smoothing import powers_of_two, rising
from .stft import Analysis, StftSizes
from .styles import StylePlayer

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Complex64 = npt.NDArray[np.complex64]

FALL_HOPS = 2
SLOW_S = 1.5
LEVEL_HOPS, QUICK_HOPS, QUICK_SHARE = 16, 4, 0.6
LEVEL_FLOOR = 1e-5
POWER_FLOOR = 1e-6  # of the input's bins, relative to S squared
FEATURE_SCALE = 2.3
SWING_RANGE = (-6.0, 3.0)
REST, ATTACK = -1.4, 1.0
REST_SLOPE = 2.0
RATIO_RANGE = (-30.0, 10.0)
NOISE_PERIOD = 2**18
NOISE_SEED = 0x74657874


def hann(size: int) -> Float64:
    """Periodic Hann window [size]: every frame's window, and that of its lobes."""
    return np.asarray(0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(size) / size))


def listening_window(sizes: StftSizes) -> Float64:
    """What the input is seen through [analysis]: a Hann window that rises slowly and falls within two hops."""
    fall = FALL_HOPS * sizes.hop
    rise = sizes.analysis - fall
    up = 0.5 - 0.5 * np.cos(np.pi * np.arange(rise) / rise)
    down = 0.5 + 0.5 * np.cos(np.pi * (np.arange(fall) + 1.0) / (fall + 1.0))
    return np.asarray(np.concatenate([up, down]))


def unit_power(sizes: StftSizes, window: Float64) -> float:
    """Factor u on |DFT of windowed samples| such that the squares over bins add up to the signal's mean square."""
    return math.sqrt(2.0 / (sizes.analysis * float(np.sum(window**2))))


def grain_window(sizes: StftSizes) -> Float64:
    """What makes a Hann frame of unit power the two hops [synthesis] that are heard of it."""
    middle = slice((sizes.analysis - sizes.synthesis) // 2, (sizes.analysis + sizes.synthesis) // 2)
    frame = hann(sizes.analysis)
    return np.asarray(hann(sizes.synthesis) / frame[middle] / unit_power(sizes, frame))


def level_curve(swing: float, gamma: float) -> float:
    """h(s): log level of the output over S, in nepers."""
    if swing > ATTACK:
        return gamma * ATTACK + swing - ATTACK
    if swing < REST:
        return gamma * REST + REST_SLOPE * (swing - REST)
    return gamma * swing


class Listener:
    """Features and levels of a stream of [channels] signals, a whole number of hops at a time.

    Channels are heard as one, by their mean power; sizes are those of the model at sample_rate (`StftSizes.at`).

    features: float32 [1, frames, bins + 1]: log magnitudes over S and a floor of -60 dB, and s; 0 in silence. The bins
              are the model's.
    level:    float64 [1, frames], log S.
    swing:    float64 [1, frames], s, not clipped; -inf where the input is silent.
    balance:  float64 [frames, channels], amplitude of each channel over that of all; -1 in silence.
    """

    def __init__(self, sizes: StftSizes, sample_rate: float, model_rate: float, channels: int, max_frames: int) -> None:
        self._sizes, self._channels = sizes, channels
        window = listening_window(sizes)
        self._analysis = Analysis(sizes, channels, max_frames)
        self._analysis._window = (sizes.analysis * unit_power(sizes, window) * window).astype(np.float32)
        self._rate = 1.0 - math.exp(-sizes.hop / (SLOW_S * sample_rate))
        bins, seen = sizes.bins, model_bins(sizes)
        self._grid = None if sample_rate == model_rate else Grid(bins, sample_rate / sizes.factor / model_rate, seen)
        self._powers = History(channels, LEVEL_HOPS, max_frames)
        self._sum = self._weight = 0.0
        self._squares = np.zeros((channels, max_frames, sizes.hop), dtype=np.float32)
        self._means = np.zeros((channels, max_frames), dtype=np.float32)
        self._parts = np.zeros((channels, max_frames, 2 * bins), dtype=np.float32)
        self._power = np.zeros((channels, max_frames, bins), dtype=np.float32)
        self._linked = np.zeros((1, max_frames, bins), dtype=np.float32)
        self._regridded = np.zeros((1, max_frames, seen), dtype=np.float32)
        self._scale = np.zeros((1, max_frames, 1), dtype=np.float32)
        self.features = np.zeros((1, max_frames, seen + 1), dtype=np.float32)
        self.level = np.zeros((1, max_frames))
        self.swing = np.zeros((1, max_frames))
        self.balance = np.ones((max_frames, channels))

    def process(self, samples: Float32) -> None:
        """Listen to samples [channels, frames * hop]; the answers lie in the first `frames` of each array."""
        channels, frames = len(samples), samples.shape[1] // self._sizes.hop
        squares, means = self._squares[:, :frames], self._means[:, :frames]
        blocks = samples.reshape(channels, frames, self._sizes.hop)
        np.multiply(blocks, blocks, out=squares)
        np.add.reduce(squares, axis=2, out=means)
        np.multiply(means, 1.0 / self._sizes.hop, out=means)
        self._powers.push(means)
        self._follow(frames)

        spectra = self._analysis.process(samples)
        parts, power = self._parts[:, :frames], self._power[:, :frames]
        np.square(spectra.view(np.float32), out=parts)
        np.add(parts[..., 0::2], parts[..., 1::2], out=power)
        if channels > 1:
            linked = self._linked[:, :frames]
            np.add.reduce(power, axis=0, out=linked[0])
            np.multiply(linked, 1.0 / channels, out=linked)
            power = linked
        if self._grid is not None:
            regridded = self._regridded[:, :frames]
            self._grid.resample(power, regridded)
            power = regridded
        np.multiply(power, self._scale[:, :frames], out=power)
        np.add(power, POWER_FLOOR, out=power)
        np.log(power, out=power)
        np.subtract(power, math.log(POWER_FLOOR), out=power)
        np.multiply(power, 0.5 / FEATURE_SCALE, out=self.features[:, :frames, :-1])

    def reset(self) -> None:
        """Forget all that was heard."""
        self._analysis.reset()
        self._powers.reset()
        self._sum = self._weight = 0.0

    def adopt(self, other: "Listener") -> None:
        """Take over the slow averages of another listener."""
        self._sum, self._weight = other._sum, other._weight

    def _follow(self, frames: int) -> None:
        """Levels of the last hops, and the slow average, which moves less where the input rests."""
        recent = self._powers.last(LEVEL_HOPS + frames - 1)
        total, weight, channels = self._sum, self._weight, self._channels
        for frame in range(frames):
            square = 0.0
            for channel in range(channels):
                hops = recent[channel, frame : frame + LEVEL_HOPS]
                steady = float(np.add.reduce(hops)) / LEVEL_HOPS
                quick = float(np.add.reduce(hops[-QUICK_HOPS:])) / QUICK_HOPS
                loud = max(steady, QUICK_SHARE * quick)
                self.balance[frame, channel] = loud
                square += loud
            square /= channels
            if channels > 1:
                for channel in range(channels):
                    loud = float(self.balance[frame, channel])
                    self.balance[frame, channel] = math.sqrt(loud / square) if 0.0 < square < math.inf else -1.0
            share = self._rate * square / (square + 0.01 * total / (weight + 1e-9) + 1e-9)
            total = (1.0 - share) * total + share * square
            weight = (1.0 - share) * weight + share
            slow = total / (weight + 1e-9) + LEVEL_FLOOR**2
            log_slow = 0.5 * math.log(slow) if 0.0 < slow < math.inf else 0.0
            self.level[0, frame] = log_slow
            self.swing[0, frame] = 0.5 * math.log(square) - log_slow if 0.0 < square < math.inf else -math.inf
            felt = 0.5 * math.log(square + LEVEL_FLOOR**2) - log_slow if square < math.inf else 0.0
            self.features[0, frame, -1] = min(SWING_RANGE[1], max(SWING_RANGE[0], felt)) / 1.5
            self._scale[0, frame] = 1.0 / slow
        self._sum, self._weight = total, weight


def model_bins(sizes: StftSizes) -> int:
    """Bins that a model sees and answers, for sizes at any rate."""
    return (sizes.bins - 1) // sizes.factor + 1


class Grid:
    """Values at the bins of one sample rate, drawn linearly between those of another; `beyond` past its highest bin.

    bins: of the source; spacing: Hz between them over Hz between the target's, of which there are target_bins.
    """

    def __init__(self, bins: int, spacing: float, target_bins: int, beyond: float = 0.0) -> None:
        place = np.arange(target_bins) / spacing
        low = np.minimum(place.astype(np.intp), bins - 2)
        inside = (place <= bins - 1).astype(np.float32)
        self._beyond = (beyond * (1.0 - inside)).astype(np.float32)
        share = (place - low).astype(np.float32)
        self._below, self._above = low, low + 1
        self._low_share, self._high_share = inside * (1.0 - share), inside * share
        self._other: dict[tuple[int, ...], Float32] = {}

    def resample(self, values: Float32, out: Float32) -> None:
        """values [..., bins] to out [..., target_bins]; both keep their shapes from call to call."""
        other = self._other.get(out.shape)
        if other is None:
            other = self._other[out.shape] = np.zeros(out.shape, dtype=np.float32)
        np.take(values, self._below, axis=-1, out=out, mode="clip")
        np.take(values, self._above, axis=-1, out=other, mode="clip")
        np.multiply(out, self._low_share, out=out)
        np.multiply(other, self._high_share, out=other)
        np.add(out, other, out=out)
        np.add(out, self._beyond, out=out)


@functools.lru_cache(maxsize=4)
def _noise_loop(more: int) -> Float32:
    """The noise, and so many of its first samples again: shared, not to be changed."""
    loop = np.random.default_rng(NOISE_SEED).standard_normal(NOISE_PERIOD).astype(np.float32)
    return np.concatenate([loop, loop[:more]])


class Noise:
    """Spectra of one endless white noise under Hann windows, mean square 1 in every bin."""

    def __init__(self, sizes: StftSizes, max_frames: int) -> None:
        self._sizes = sizes
        size = sizes.analysis
        self._loop = _noise_loop(size + max_frames * sizes.hop)
        window = hann(size)
        self._window = (size / math.sqrt(float(np.sum(window**2))) * window).astype(np.float32)
        self._transform = RealTransform(size)
        self._windowed = np.zeros((max_frames, size), dtype=np.float32)
        self._spectra = np.zeros((max_frames, sizes.bins), dtype=np.complex64)
        self.at = 0

    def process(self, frames: int) -> Complex64:
        """The next spectra [frames, bins], valid until the next call."""
        hop, size = self._sizes.hop, self._sizes.analysis
        windowed, spectra = self._windowed[:frames], self._spectra[:frames]
        step = self._loop.strides[0]
        overlapping = as_strided(self._loop[self.at :], (frames, size), (hop * step, step), writeable=False)
        np.multiply(overlapping, self._window, out=windowed)
        self._transform.forward(windowed, spectra)
        self.at = (self.at + frames * hop) % NOISE_PERIOD
        return spectra


class TextureLaw:
    """From a student's answer to spectra of unit-power Hann frames; law `texture@1`."""

    def __init__(self, sizes: StftSizes, max_frames: int) -> None:
        bins = sizes.bins
        self.phase = PhaseReconstruction(sizes.analysis, sizes.hop, 1)
        self._amplitude = np.zeros((2, bins), dtype=np.float32)
        self._flat = self._amplitude.reshape(-1)
        self._log = np.zeros((1, max_frames, bins), dtype=np.float32)
        self._gain = np.zeros((1, max_frames, bins), dtype=np.float32)
        self._hiss = np.zeros((1, max_frames, bins), dtype=np.complex64)

    def process(self, heard: Listener, ratios: Float32, dynamics: Float32, noise: Complex64, out: Complex64) -> None:
        """ratios [1, frames, 2, bins] (clipped in place), dynamics [1, frames, 2], noise [frames, bins].

        out: complex64 [1, frames, bins].
        """
        frames = ratios.shape[1]
        np.maximum(ratios, RATIO_RANGE[0], out=ratios)
        np.minimum(ratios, RATIO_RANGE[1], out=ratios)
        log, gain, hiss = self._log[:, :frames], self._gain[:, :frames], self._hiss[:, :frames]
        amplitude = self._amplitude
        for frame in range(frames):
            np.exp(ratios[0, frame], out=amplitude)
            amplitude[:, 0] = amplitude[:, -1] = 0.0
            power = float(np.dot(self._flat, self._flat))
            common = self._level(heard, frame, dynamics, power)
            np.add(ratios[0, frame, 0], common, out=log[0, frame])
            np.multiply(amplitude[1], math.exp(common), out=gain[0, frame])
        self.phase.process(log, out)
        out[..., 0] = out[..., -1] = 0.0
        np.multiply(noise, gain, out=hiss)
        np.add(out, hiss, out=out)
        for frame in range(frames):
            if heard.swing[0, frame] == -math.inf:
                out[0, frame] = 0.0

    @staticmethod
    def _level(heard: Listener, frame: int, dynamics: Float32, power: float) -> float:
        """c, between -60 and 20 nepers."""
        swing = float(heard.swing[0, frame])
        moved, gamma = float(dynamics[0, frame, 0]), float(dynamics[0, frame, 1])
        common = float(heard.level[0, frame]) + level_curve(swing, min(2.0, max(0.0, gamma))) + moved
        common -= 0.5 * math.log(power + 1e-20) if power < math.inf else math.inf
        return min(20.0, max(-60.0, common))


class TextureProcessor(StylePlayer):
    """Plays one texture. Its delay is one hop; silence in gives silence out; amount 0 gives the plain guitar.

    Between 0 and 1 the plain guitar and the texture cross with constant power, and a graph that is told the amount
    moves its magnitudes from the guitar's to the style's. In stereo one texture stands where the guitar does.
    """

    def _scale(self, sizes: StftSizes) -> None:
        super()._scale(sizes)
        levels = LEVEL_HOPS * sizes.hop
        self.memory_samples = max(sizes.analysis, levels) + self.model.spec.receptive_field_frames * sizes.hop
        self.tail_samples = levels + sizes.synthesis

    def prepare(self, spec: StreamSpec) -> None:
        self._scale_to(spec.sample_rate)
        sizes, model, channels = self.sizes, self.model.spec, spec.channels
        self._frame_counts = powers_of_two(max(1, spec.max_block // sizes.hop))
        largest = self._frame_counts[-1]
        self._listener = Listener(sizes, spec.sample_rate, model.sample_rate, channels, largest)
        self._noise = Noise(sizes, largest)
        self._law = TextureLaw(sizes, largest)
        self._stream = self.model.start(1, self._frame_counts)
        self._grid = None
        if spec.sample_rate != model.sample_rate:
            spacing = model.sample_rate * sizes.factor / spec.sample_rate
            self._grid = Grid(model_bins(sizes), spacing, sizes.bins, RATIO_RANGE[0])
        self._window = grain_window(sizes).astype(np.float32)
        middle = (sizes.analysis - sizes.synthesis) // 2
        self._middle = slice(middle, middle + sizes.synthesis)
        self._input = np.zeros((channels, largest * sizes.hop), dtype=np.float32)
        self._texture = np.zeros((1, largest * sizes.hop), dtype=np.float32)
        self._wet = self._texture if channels == 1 else np.zeros((channels, largest * sizes.hop), dtype=np.float32)
        self._balance = np.full(channels, -1.0)
        self._ratios = np.zeros((1, largest, 2, sizes.bins), dtype=np.float32)
        self._spectra = np.zeros((1, largest, sizes.bins), dtype=np.complex64)
        self._transform = RealTransform(sizes.analysis)
        self._frames = np.zeros((1, largest, sizes.analysis), dtype=np.float32)
        self._tail = np.zeros((1, sizes.hop), dtype=np.float32)
        self._aligned = History(channels, sizes.hop, largest * sizes.hop)
        self._dry = np.zeros((channels, largest * sizes.hop), dtype=np.float32)
        self._rise = rising(sizes.hop)
        self._line = np.zeros(sizes.hop, dtype=np.float32)
        self._hops = 0
        self._leader: TextureProcessor | None = None
        self._settle()
        self._shares = self._shares_wanted

    def process(self, block: Float32, out: Float32) -> None:
        self._settle()
        done, hop = 0, self.sizes.hop
        for frames in reversed(self._frame_counts):
            size = frames * hop
            while len(block) - done >= size:
                self._advance(block[done : done + size], out[done : done + size], frames)
                done += size
        leader = self._leader
        if leader is not None and leader._hops == self._hops:
            # Both have heard as much: go on with the averages, phases and half-heard grain of the one that was heard.
            self._listener.adopt(leader._listener)
            self._law.phase.adopt(leader._law.phase)
            np.copyto(self._tail, leader._tail)
            self._leader = None

    def reset(self) -> None:
        for part in (self._listener, self._stream, self._law.phase, self._aligned):
            part.reset()
        self._noise.at = 0
        self._tail.fill(0.0)
        self._balance.fill(-1.0)
        self._shares = self._shares_wanted
        self._leader = None

    def adopt(self, predecessor: Processor, lag_samples: int) -> None:
        if isinstance(predecessor, TextureProcessor) and predecessor._tail.shape == self._tail.shape:
            self._listener.adopt(predecessor._listener)
            self._noise.at = (predecessor._noise.at - lag_samples) % NOISE_PERIOD
            self._hops = predecessor._hops - lag_samples // self.sizes.hop
            self._leader = predecessor

    def _settle(self) -> None:
        """Take style and amount from the values."""
        amount = self._asked.amount()
        self._stream.style[:] = self._asked.mix()
        self._stream.amount[0] = amount
        angle = 0.5 * math.pi * amount
        self._shares_wanted = (math.cos(angle) if amount < 1.0 else 0.0, math.sin(angle))

    def _advance(self, block: Float32, out: Float32, frames: int) -> None:
        size = len(block)
        samples, wet, spectra = self._input[:, :size], self._wet[:, :size], self._spectra[:, :frames]
        texture = self._texture[:, :size]
        samples[:] = block.T
        listener, stream = self._listener, self._stream
        listener.process(samples)
        stream.features[frames][:] = listener.features[:, :frames]
        stream.run(frames)
        ratios = stream.ratios[frames]
        if self._grid is not None:
            regridded = self._ratios[:, :frames]
            self._grid.resample(ratios, regridded)
            ratios = regridded
        self._law.process(listener, ratios, stream.dynamics[frames], self._noise.process(frames), spectra)
        self._overlap(spectra, texture, frames)
        if len(wet) > 1:
            self._place(texture, wet, frames)
        self._hops += frames
        self._aligned.push(samples)
        self._cross(self._aligned.last(size, skip=self.sizes.hop), wet, out)

    def _overlap(self, spectra: Complex64, wet: Float32, frames: int) -> None:
        """Grains of spectra [1, frames, bins], each from its hop on, into wet [1, frames * hop]."""
        hop = self.sizes.hop
        time = self._frames[:, :frames]
        self._transform.inverse(spectra, time)
        pairs = time[:, :, self._middle]
        np.multiply(pairs, self._window, out=pairs)
        hops = wet.reshape(len(wet), frames, hop)
        np.add(pairs[:, 1:, :hop], pairs[:, :-1, hop:], out=hops[:, 1:])
        np.add(pairs[:, 0, :hop], self._tail, out=hops[:, 0])
        self._tail[:] = pairs[:, -1, hop:]

    def _place(self, texture: Float32, wet: Float32, frames: int) -> None:
        """Give texture [1, n] to each channel of wet [channels, n] by its balance, which moves in straight lines."""
        hop, line, before = self.sizes.hop, self._line, self._balance
        for frame in range(frames):
            part = slice(frame * hop, (frame + 1) * hop)
            for channel in range(len(wet)):
                now = float(self._listener.balance[frame, channel])
                if now < 0.0:
                    now = float(before[channel])
                elif before[channel] < 0.0:
                    before[channel] = now
                np.multiply(self._rise, now - before[channel], out=line)
                np.add(line, before[channel], out=line)
                np.multiply(texture[0, part], line, out=wet[channel, part])
                before[channel] = now

    def _cross(self, aligned: Float32, wet: Float32, out: Float32) -> None:
        """Plain and texture by their shares, which move along a straight line over the first hop."""
        hop, line = self.sizes.hop, self._line
        dry = self._dry[:, : wet.shape[1]]
        for share, wanted, source, target in (
            (self._shares[0], self._shares_wanted[0], aligned, dry),
            (self._shares[1], self._shares_wanted[1], wet, wet),
        ):
            np.multiply(source[:, hop:], wanted, out=target[:, hop:])
            np.multiply(self._rise, wanted - share, out=line)
            np.add(line, share, out=line)
            np.multiply(source[:, :hop], line, out=target[:, :hop])
        self._shares = self._shares_wanted
        np.add(dry, wet, out=out.T)
