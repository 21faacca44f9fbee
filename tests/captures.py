"""Tiny captures made on the spot, in the formats of other programs, and a library with some of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper

from duende.export.captures.install import import_capture
from duende.presets.captures import Captures


def linear_nam(taps: list[float], **extra: Any) -> dict[str, Any]:
    """A .nam that is a filter: its output is the input convolved with taps."""
    config = {"receptive_field": len(taps), "bias": False}
    whole = {"version": "0.5.4", "architecture": "Linear", "config": config, "weights": taps, "sample_rate": 48000}
    return whole | extra


def lstm_nam(seed: int = 0, cells: int = 3, **extra: Any) -> dict[str, Any]:
    """A .nam with one small recurrent layer: it bends what is loud."""
    rng = np.random.default_rng(seed)
    count = 4 * cells * (1 + cells) + 4 * cells + 2 * cells + cells + 1
    weights = rng.uniform(-0.7, 0.7, count).round(4).tolist()
    config = {"input_size": 1, "hidden_size": cells, "num_layers": 1}
    whole = {"version": "0.5.4", "architecture": "LSTM", "config": config, "weights": weights, "sample_rate": 48000}
    return whole | extra


def slimmable_nam(*gains: float) -> dict[str, Any]:
    """A .nam with several widths, each a gain, the first for the lowest quality."""
    parts = [{"max_value": (place + 1) / len(gains), "model": linear_nam([gain])} for place, gain in enumerate(gains)]
    whole = {"version": "0.7.0", "architecture": "SlimmableContainer", "config": {"submodels": parts}, "weights": []}
    return whole | {"sample_rate": 48000}


def proteus(seed: int = 0, inputs: int = 2, cells: int = 3) -> dict[str, Any]:
    """A Proteus file at 44.1 kHz, with a knob for each input beyond the first."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Any:
        return rng.uniform(-0.6, 0.6, shape).round(4).tolist()

    rows = 4 * cells
    return {
        "model_data": {
            "model": "SimpleRNN",
            "input_size": inputs,
            "skip": 1,
            "output_size": 1,
            "unit_type": "LSTM",
            "num_layers": 1,
            "hidden_size": cells,
            "bias_fl": True,
        },
        "state_dict": {
            "rec.weight_ih_l0": draw(rows, inputs),
            "rec.weight_hh_l0": draw(rows, cells),
            "rec.bias_ih_l0": draw(rows),
            "rec.bias_hh_l0": draw(rows),
            "lin.weight": draw(1, cells),
            "lin.bias": draw(1),
        },
    }


def aidax(answer: float = 0.0) -> dict[str, Any]:
    """An AIDA-X file that doubles its input, with a self test whose answer is off by so much."""
    batch = np.linspace(-0.5, 0.5, 64).round(4)
    dense = {"type": "dense", "activation": "", "shape": [None, None, 1], "weights": [[[2.0]], [0.0]]}
    return {
        "in_shape": [None, None, 1],
        "layers": [dense],
        "metadata": {"name": "Doubler", "samplerate": 48000, "license": "CC0-1.0", "author": "somebody"},
        "input_batch": batch.tolist(),
        "output_batch": (2.0 * batch + answer).tolist(),
    }


def write(path: Path, content: Any) -> Path:
    """The file of a capture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def tiny_captures(folder: Path) -> Captures:
    """A library with `half` (a filter: half the level), `bent` (an LSTM) and `knobby` (one knob, 44.1 kHz)."""
    captures = Captures(folder / "captures")
    about = {
        "name": "Half a Twin",
        "gear_make": "Fender",
        "gear_model": "Twin",
        "gear_type": "amp",
        "tone_type": "clean",
    }
    files = {
        "half.nam": linear_nam([0.5], metadata={**about, "loudness": -20.0, "gain": 0.1, "modeled_by": "somebody"}),
        "bent.nam": lstm_nam(),
        "knobby.json": proteus(),
    }
    for file, content in files.items():
        import_capture(write(folder / "files" / file, content), captures)
    return captures


def damage(path: Path) -> None:
    """Change the weights of a model file, so that it is whole and answers something else."""
    graph = onnx.load(path)
    for tensor in graph.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor) * np.float32(1.001)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(graph, path)


def relabel(path: Path, **changes: Any) -> None:
    """Change what a model file says of its origin."""
    graph = onnx.load(path)
    for entry in graph.metadata_props:
        spec = json.loads(entry.value)
        spec["provenance"] |= changes
        entry.value = json.dumps(spec)
    onnx.save(graph, path)
