"""The literature's extractor as a live graph: thousands of filters over the bins of a spectrum, 11 frames deep.

D. Ulyanov and V. Lebedev's system (2016) and what followed it compare sounds by the answers of one random convolution,
4096 filters of 11 frames over all bins. Here it runs once per hop, on the frames that were heard so far, and a light
decoder turns its answers into band gains: 46 million weights, the price of playing the published network as it is.
The weights are random: it is there to be timed, and sounds of nothing.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ... import DuendeError
from ..bands import erb_bands
from ..processor import Processor, StreamSpec
from ..spec import OPSET, Control
from ..stft import DEFAULT_SIZES, Analysis, Synthesis
from .fixed import FixedStream, open_session

Float32 = npt.NDArray[np.float32]

FRAMES = 11
BANDS = 48
MOST = 16384


def extractor_parameters(filters: int) -> int:
    """Weights of an extractor with so many filters, and of its decoder."""
    return filters * (FRAMES * DEFAULT_SIZES.bins + 1) + filters * BANDS


def extractor_graph(filters: int, seed: int = 1) -> bytes:
    """An ONNX graph: `frame` [channels, 1, bins] and `past` [channels, 10, bins] to `gains` [channels, bands]."""
    if not 1 <= filters <= MOST:
        raise DuendeError(f"filters:{filters} is out of range: 1 to {MOST}")
    rng, bins = np.random.default_rng(seed), DEFAULT_SIZES.bins
    into = rng.standard_normal((FRAMES * bins, filters), dtype=np.float32) * np.float32((FRAMES * bins) ** -0.5)
    out = rng.standard_normal((filters, BANDS), dtype=np.float32) * np.float32(filters**-0.5)
    constants = [
        numpy_helper.from_array(into, "filters"),
        numpy_helper.from_array(np.zeros(filters, dtype=np.float32), "bias"),
        numpy_helper.from_array(out, "decoder"),
        numpy_helper.from_array(np.array([0, -1], dtype=np.int64), "flat"),
        *(numpy_helper.from_array(np.array([value], dtype=np.int64), name) for name, value in (("one", 1), ("two", 2))),
        numpy_helper.from_array(np.array([np.iinfo(np.int64).max], dtype=np.int64), "end"),
    ]
    nodes = [
        helper.make_node("Concat", ["past", "frame"], ["heard"], axis=1),
        helper.make_node("Slice", ["heard", "one", "end", "one"], ["past_next"]),
        helper.make_node("Reshape", ["heard", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "filters"], ["filtered"]),
        helper.make_node("Add", ["filtered", "bias"], ["biased"]),
        helper.make_node("Relu", ["biased"], ["answers"]),
        helper.make_node("MatMul", ["answers", "decoder"], ["decoded"]),
        helper.make_node("Sigmoid", ["decoded"], ["gains"]),
    ]

    def port(name: str, *shape: str | int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    graph = helper.make_graph(
        nodes,
        "extractor",
        [port("frame", "channels", 1, bins), port("past", "channels", FRAMES - 1, bins)],
        [port("gains", "channels", BANDS), port("past_next", "channels", FRAMES - 1, bins)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    return bytes(model.SerializeToString())


class ExtractorProcessor:
    """Plays the graph: spectrum, log magnitudes, extractor, gains of bands, spectrum. Its delay is one hop."""

    spills = False
    quantum = DEFAULT_SIZES.hop
    latency_samples = DEFAULT_SIZES.latency_samples
    memory_samples = DEFAULT_SIZES.analysis + FRAMES * DEFAULT_SIZES.hop
    tail_samples = DEFAULT_SIZES.analysis
    controls: Sequence[Control] = ()

    def __init__(self, filters: int, provider: str = "cpu", threads: int = 1, *, cuda_graph: bool = False) -> None:
        """DuendeError where filters are out of range or the provider is not to be had."""
        self.values = np.zeros(0, dtype=np.float32)
        self._data = extractor_graph(filters)
        self._provider, self._threads, self._graph = provider, threads, cuda_graph
        self._sessions: dict[int, object] = {}

    def prepare(self, spec: StreamSpec) -> None:
        sizes, channels = DEFAULT_SIZES, spec.channels
        most = max(1, spec.max_block // sizes.hop)
        if channels not in self._sessions:
            self._sessions[channels] = open_session(
                self._data,
                "extractor",
                self._provider,
                self._threads,
                cuda_graph=self._graph,
                dimensions={"channels": channels},
            )
        self._analysis, self._synthesis = Analysis(sizes, channels, most), Synthesis(sizes, channels, most)
        self._stream = FixedStream(
            self._sessions[channels],
            {"frame": np.zeros((channels, 1, sizes.bins), dtype=np.float32)},
            {"gains": (channels, BANDS)},
            {"past": np.zeros((channels, FRAMES - 1, sizes.bins), dtype=np.float32)},
            place="cuda" if self._graph else "cpu",
            cuda_graph=self._graph,
        )
        bands = erb_bands(spec.sample_rate, sizes.analysis, BANDS)
        self._to_bins = np.zeros((BANDS, sizes.bins), dtype=np.float32)
        self._to_bins[:, : bands.bins] = bands.interpolation
        self._samples = np.zeros((channels, most * sizes.hop), dtype=np.float32)
        self._wet = np.zeros((channels, most * sizes.hop), dtype=np.float32)
        self._gains = np.zeros((channels, sizes.bins), dtype=np.float32)

    def process(self, block: Float32, out: Float32) -> None:
        size, hop, stream = len(block), DEFAULT_SIZES.hop, self._stream
        samples, wet = self._samples[:, :size], self._wet[:, :size]
        samples[:] = block.T
        spectra = self._analysis.process(samples)
        frame = stream.inputs["frame"]
        for index in range(size // hop):
            np.abs(spectra[:, index], out=frame[:, 0])
            np.log1p(frame, out=frame)
            stream.run()
            np.matmul(stream.outputs["gains"], self._to_bins, out=self._gains)
            np.multiply(spectra[:, index], self._gains, out=spectra[:, index])
        self._synthesis.process(spectra, wet)
        out.T[:] = wet

    def reset(self) -> None:
        self._analysis.reset()
        self._synthesis.reset()
        self._stream.load({"past": np.zeros_like(self._stream.states()["past"])})

    def adopt(self, predecessor: Processor, lag_samples: int) -> None:
        """Nothing is learned."""
