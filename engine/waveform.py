"""A capture as a processor: any block size, no delay at its own rate, knobs and levels without steps, quality live."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .. import DuendeError
from .history import History
from .processor import Processor, StreamSpec
from .resampled import RateBridge
from .smoothing import Glide, raised_cosine
from .spec import Control
from .waveform_model import WaveformModel, open_waveform
from .waveform_spec import REFERENCE_LOUDNESS_DB, waveform_controls

__all__ = ["WaveformProcessor", "open_waveform"]

Float32 = npt.NDArray[np.float32]

GLIDE_S = 0.004
FADE_S = 0.03
LARGEST = 512
CATCH_UP = 128
LOUDEST = 1e3


class WaveformProcessor:
    """Plays one capture in mono or stereo, each channel by itself.

    At the capture's own rate nothing is late; at another one, what the bridge between the rates takes: a whole number
    of samples, the same for any block size. A change of quality is heard once the other variant has listened to as much
    as it depends on, and fades in over FADE_S.

    Its output follows its input, so it is faded out where it is left out (`spills`).
    """

    quantum = 1
    spills = False

    def __init__(self, model: WaveformModel) -> None:
        self.model = model
        self._controls = waveform_controls(model.spec)
        self.values: Float32 = np.array([control.default for control in self._controls], dtype=np.float32)
        self._places = {control.name: place for place, control in enumerate(self._controls)}
        self.latency_samples = 0
        self.notices: tuple[str, ...] = ()
        self.memory_samples = self.tail_samples = model.spec.receptive_field_samples
        self._spec: StreamSpec | None = None

    @property
    def controls(self) -> Sequence[Control]:
        return self._controls

    def prepare(self, spec: StreamSpec) -> None:
        if spec.channels not in (1, 2):
            raise DuendeError(f"{self.model.spec.name}: {spec.channels} channels: a capture plays 1 or 2")
        about, channels = self.model.spec, spec.channels
        self._spec = spec
        self._largest = min(spec.max_block, LARGEST)
        bridge = None
        if spec.sample_rate != about.sample_rate:
            bridge = RateBridge(spec.sample_rate, about.sample_rate, channels, self._largest)
        self._bridge = bridge
        self._most = most = self._largest if bridge is None else bridge.most
        self.latency_samples = 0 if bridge is None else bridge.latency_samples
        self.notices = () if bridge is None else (self._resampled(spec.sample_rate),)
        field = about.receptive_field_samples
        self.memory_samples = math.ceil(field * spec.sample_rate / about.sample_rate) + 2 * self.latency_samples
        self.tail_samples = self.memory_samples
        self._in = np.zeros((channels, self._largest), dtype=np.float32)
        self._wet = np.zeros((channels, self._largest), dtype=np.float32)
        self._answer = np.zeros((channels, most), dtype=np.float32)
        self._other = np.zeros((channels, most), dtype=np.float32)
        self._knobs = np.zeros((channels, len(about.knobs), most), dtype=np.float32)
        device, own = GLIDE_S * spec.sample_rate, GLIDE_S * about.sample_rate
        self._input, self._output = Glide(device, self._largest), Glide(device, self._largest)
        self._turns = [Glide(own, most) for _ in about.knobs]
        self._streams = [self.model.start(variant, channels, most) for variant in range(len(about.variants))]
        self._fade_length = max(1, round(FADE_S * about.sample_rate))
        self._fade = raised_cosine(self._fade_length, most)
        # What a variant that comes in must have heard; there is nothing to come in where there is only one.
        self._heard = History(channels, field, most) if len(self._streams) > 1 else None
        self._catch = np.zeros((channels, most), dtype=np.float32)
        self._catch_knobs = np.zeros((channels, len(about.knobs), most), dtype=np.float32)
        self.reset()

    def process(self, block: Float32, out: Float32) -> None:
        done, count = 0, len(block)
        while done < count:
            end = min(done + self._largest, count)
            self._step(block[done:end], out[done:end])
            done = end

    def reset(self) -> None:
        for stream in self._streams:
            stream.reset()
        for glide in (self._input, self._output, *self._turns):
            glide.reset()
        if self._bridge is not None:
            self._bridge.reset()
        if self._heard is not None:
            self._heard.reset()
        self._variant, self._begun = self._wanted_variant(), False
        self._incoming = -1
        self._behind = self._fade_at = self._asked = 0

    def adopt(self, predecessor: Processor, lag_samples: int) -> None:
        """From the same capture: all its states, once both have heard as much."""
        if lag_samples or not isinstance(predecessor, WaveformProcessor) or predecessor._spec is None:
            return
        before, now = predecessor.model.spec, self.model.spec
        same = before.provenance.sha256 == now.provenance.sha256 and before.golden == now.golden
        if not same or self._spec is None:
            return
        there, here = predecessor._spec, self._spec
        if (there.sample_rate, there.channels) != (here.sample_rate, here.channels):
            return
        if predecessor._variant == self._variant:
            self._streams[self._variant].adopt(predecessor._streams[self._variant])
        for mine, theirs in zip(self._turns, predecessor._turns, strict=True):
            mine.adopt(theirs)
        self._input.adopt(predecessor._input)
        self._output.adopt(predecessor._output)

    def _resampled(self, rate: float) -> str:
        about, late = self.model.spec, self.latency_samples
        return (
            f"{about.name}: made at {about.sample_rate / 1000:g} kHz, played at {rate / 1000:g} kHz: it is resampled, "
            f"{late} samples ({1000.0 * late / rate:.2f} ms) late"
        )

    # -- audio thread ------------------------------------------------------------------------------------------------

    def _step(self, block: Float32, out: Float32) -> None:
        count = len(block)
        work = self._in[:, :count]
        np.copyto(work, block.T)
        _repair(work)
        self._input.scale(work, 10.0 ** (self._input_db() / 20.0))
        if self._bridge is None:
            wet = self._wet[:, :count]
            self._run(work, wet)
        else:
            wet = self._bridge.process(work, self._run)
        self._output.scale(wet, 10.0 ** (self._output_db() / 20.0))
        np.copyto(out, wet.T)

    def _run(self, heard: Float32, answer: Float32) -> None:
        """heard [channels, n] at the capture's rate to answer, the same shape."""
        count = heard.shape[1]
        if not count:
            return
        if not self._begun:
            # The values come with the first block: what they ask for has nothing to fade from.
            self._variant, self._begun = self._wanted_variant(), True
        knobs = self._knobs[:, :, :count]
        for place, turn in enumerate(self._turns):
            line = turn.draw(float(self.values[place]), count)
            if line is None:
                knobs[:, place].fill(turn.value)
            else:
                knobs[:, place] = line
        self._streams[self._variant].process(heard, knobs, answer)
        if self._heard is not None:
            self._heard.push(heard)
            self._follow_quality(heard, knobs, answer)

    def _follow_quality(self, heard: Float32, knobs: Float32, answer: Float32) -> None:
        """Start, go on with, or end the way to another variant."""
        count, history = heard.shape[1], self._heard
        assert history is not None
        wanted = self._wanted_variant()
        if self._incoming < 0:
            # A value on its way passes others: wait until it has arrived.
            self._asked = self._asked + count if wanted != self._variant else 0
            if self._asked < self._fade_length:
                return
            self._incoming, self._asked, self._fade_at = wanted, 0, 0
            self._behind = self.model.spec.variants[wanted].receptive_field_samples
            self._streams[wanted].reset()
            for place, turn in enumerate(self._turns):
                self._catch_knobs[:, place].fill(turn.value)
        stream = self._streams[self._incoming]
        if self._behind > 0:
            # Each block takes a bite larger than what arrives.
            self._behind += count
            due = min(self._behind, count + max(CATCH_UP, 2 * count))
            while due > 0:
                bite = min(due, self._most)
                catch = self._catch[:, :bite]
                catch[:] = history.last(bite, skip=self._behind - bite)
                stream.process(catch, self._catch_knobs[:, :, :bite], self._other[:, :bite])
                self._behind -= bite
                due -= bite
            return
        other = self._other[:, :count]
        stream.process(heard, knobs, other)
        np.subtract(other, answer, out=other)
        np.multiply(other, self._fade[self._fade_at : self._fade_at + count], out=other)
        np.add(answer, other, out=answer)
        self._fade_at += count
        if self._fade_at >= self._fade_length:
            self._variant, self._incoming = self._incoming, -1

    def _wanted_variant(self) -> int:
        variants = self.model.spec.variants
        if len(variants) == 1:
            return 0
        quality = float(self.values[self._places["quality"]])
        for place, variant in enumerate(variants):
            if quality < variant.maximum:
                return place
        return len(variants) - 1

    def _input_db(self) -> float:
        places, values = self._places, self.values
        level = float(values[places["input"]])
        dbu = self.model.spec.input_level_dbu
        if dbu is not None:
            level += float(values[places["calibrate"]]) * (float(values[places["interface"]]) - dbu)
        return min(120.0, level)

    def _output_db(self) -> float:
        level = float(self.values[self._places["output"]])
        loudness = self.model.spec.loudness_db
        if loudness is not None:
            level += float(self.values[self._places["normalize"]]) * (REFERENCE_LOUDNESS_DB - loudness)
        return min(120.0, level)


def _repair(samples: Float32) -> None:
    """What is no number becomes silence before the states can remember it."""
    # One row at a time: a view of all is not contiguous.
    for row in samples:
        if not math.isfinite(float(np.dot(row, row))):
            np.nan_to_num(row, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
            np.clip(row, -LOUDEST, LOUDEST, out=row)
