"""A distilled spectral style as a processor: excitations, short-time spectra, student and body."""

import numpy as np
import numpy.typing as npt

from .body import TAPS, Body, BodyTables, body_tables
from .convolver import Convolver
from .excitation import Excitations
from .mixer import GainLaw, Observer, expected_shapes, mixer_bands
from .processor import Processor, StreamSpec
from .smoothing import powers_of_two
from .stft import Analysis, StftSizes, Synthesis
from .styles import StylePlayer

Float32 = npt.NDArray[np.float32]


class SpectralProcessor(StylePlayer):
    """Plays one model. Its delay is one hop; silence in gives silence out; amount 0 gives the plain guitar.

    Both sides of a stereo signal are played with the same gains, found from their mean power, and each with excitations
    of its own: so a guitar stays where it stands.
    """

    def _scale(self, sizes: StftSizes) -> None:
        super()._scale(sizes)
        self.memory_samples = sizes.analysis + self.model.spec.receptive_field_frames * sizes.hop
        self.tail_samples = sizes.analysis + TAPS * sizes.factor

    def prepare(self, spec: StreamSpec) -> None:
        self._scale_to(spec.sample_rate)
        sizes, model, channels = self.sizes, self.model.spec, spec.channels
        most = max(1, spec.max_block // sizes.hop)
        self._frame_counts = powers_of_two(most)
        largest = self._frame_counts[-1]
        bands = mixer_bands(sizes, spec.sample_rate, model.bands)
        count = len(model.excitations)
        self._excitations = Excitations(model.excitations, spec.sample_rate, sizes.hop, channels, largest)
        self._analysis = Analysis(sizes, channels * count, largest)
        expected = expected_shapes(model.excitations, bands, sizes, spec.sample_rate)
        self._observer = Observer(bands, sizes, spec.sample_rate, count, channels, largest, expected)
        self._law = GainLaw(bands, sizes, count, channels, largest)
        self._synthesis = Synthesis(sizes, channels, largest)
        self._stream = self.model.start(1, self._frame_counts, self._observer.silence())

        def tables() -> BodyTables:
            curves = [self.model.body(one) for one in np.eye(len(model.styles), dtype=np.float32)]
            pooling, rate = bands.pooling, spec.sample_rate
            return body_tables(np.stack(curves), model.body_top_hz, rate, sizes.hop, pooling, sizes.analysis)

        self._body = Body(self.model.remember(("body", spec.sample_rate), tables))
        self._settled = b""
        self._settle()
        self._convolver = Convolver(self._body.spectra, channels)
        self._input = np.zeros((channels, largest * sizes.hop), dtype=np.float32)
        self._spectra = np.zeros((channels, largest, sizes.bins), dtype=np.complex64)
        self._wet = np.zeros((channels, largest * sizes.hop), dtype=np.float32)

    def process(self, block: Float32, out: Float32) -> None:
        if self._settle():
            self._convolver.fade_to(self._body.spectra)
        done, hop = 0, self.sizes.hop
        for frames in reversed(self._frame_counts):
            size = frames * hop
            while len(block) - done >= size:
                self._advance(block[done : done + size], out[done : done + size], frames)
                done += size

    def reset(self) -> None:
        parts = (self._excitations, self._analysis, self._observer, self._synthesis, self._stream, self._convolver)
        for part in parts:
            part.reset()

    def adopt(self, predecessor: Processor, lag_samples: int) -> None:
        if isinstance(predecessor, SpectralProcessor):
            self._observer.adopt(predecessor._observer)
            self._excitations.adopt(predecessor._excitations, lag_samples)

    def _settle(self) -> bool:
        """Take style and amount from the values; True when the body had to change."""
        # Bytes are compared in a tenth of the time that numpy takes for a few numbers.
        asked = self.values.tobytes()
        if asked == self._settled:
            return False
        self._settled = asked
        amount, style = self._asked.amount(), self._asked.mix()
        self._amount = amount
        self._stream.style[:] = style
        self._stream.amount[0] = amount
        self._body.set(style, amount)
        self._law.follow(self._body.band_power)
        return True

    def _advance(self, block: Float32, out: Float32, frames: int) -> None:
        size = len(block)
        samples, wet, spectra = self._input[:, :size], self._wet[:, :size], self._spectra[:, :frames]
        samples[:] = block.T
        channels = len(samples)
        excited = self._excitations.process(samples)
        analysed = self._analysis.process(excited.reshape(-1, size))
        analysed = analysed.reshape(channels, -1, frames, self.sizes.bins)
        seen = self._observer.process(analysed, self._excitations.level[:, :frames])
        stream = self._stream
        stream.features[frames][:] = seen.features
        stream.run(frames)
        self._law.process(analysed, seen, stream.ratios[frames], stream.dynamics[frames], self._amount, spectra)
        self._synthesis.process(spectra, wet)
        self._convolver.process(wet, wet)
        out.T[:] = wet
