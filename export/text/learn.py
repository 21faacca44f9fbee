"""Trains the embedded default on a data set in NSynth's form: a listener for words, a decoder from words to notes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional as F

from ... import DuendeError, __version__
from ...presets.format import write_atomically
from .analysis import envelopes_of
from .default import touch_of
from .envelope_code import CODE, DEEPEST_DB, UNIT_DB, encode
from .features import FEATURES, features_of
from .models import DECODER, EMBEDDING, LATENT, LISTENER, PROPERTY
from .nsynth import DataSet, Note
from .vocabulary import FAMILIES, SOURCES, WORDS, vector_of

Float32 = npt.NDArray[np.float32]
Tell = Callable[[int, int, str], None]

OPSET = 17
BLIND = 0.25
_SPREAD = 0.05
_Ends = tuple[list[tuple[str, list[str | int]]], list[tuple[str, list[str | int]]]]


@dataclass(frozen=True)
class LearnConfig:
    """Steps of the two trainings, size of a batch, and the seed."""

    listener_steps: int = 1500
    decoder_steps: int = 3000
    batch: int = 64
    seed: int = 1


@dataclass(frozen=True)
class Examples:
    """Notes, a row each: features [n, FEATURES], code [n, CODE], words [n, WORDS], touch (pitch, velocity) [n, 2]."""

    features: Float32
    code: Float32
    words: Float32
    touch: Float32


def examples_of(notes: Sequence[Note], tell: Tell) -> tuple[Examples, list[str]]:
    """Notes heard and analysed; those that cannot be are skipped and named. DuendeError where none is left."""
    features, codes, words, touch = [], [], [], []
    skipped: list[str] = []
    for place, note in enumerate(notes):
        try:
            audio, rate = note.audio()
        except DuendeError as error:
            skipped.append(f"{note.name!r}: {error}")
            continue
        features.append(features_of(audio, rate))
        codes.append(encode(envelopes_of(audio, 440.0 * 2.0 ** ((note.pitch - 69) / 12.0), rate)))
        words.append(vector_of((note.source, note.family, *note.qualities)))
        touch.append(touch_of(note.pitch, note.velocity))
        tell(place + 1, len(notes), "hearing the notes")
    if not features:
        raise DuendeError("none of the data set's notes can be used" + (f": {skipped[0]}" if skipped else ""))
    return Examples(np.stack(features), np.stack(codes), np.stack(words), np.stack(touch)), skipped


class Listener(nn.Module):
    """Features and words into one space, where a sound lies near the words that describe it."""

    def __init__(self, mean: Float32, deviation: Float32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("deviation", torch.from_numpy(deviation))
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, 160), nn.ReLU(), nn.Dropout(0.2), nn.Linear(160, EMBEDDING), nn.Identity()
        )
        self.table = nn.Parameter(0.3 * torch.randn(len(WORDS), EMBEDDING))
        self.bias = nn.Parameter(torch.full((len(WORDS),), -1.0))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features [n, FEATURES] -> embedding [n, EMBEDDING]."""
        out: torch.Tensor = self.layers((features - self.get_buffer("mean")) / self.get_buffer("deviation"))
        return out

    def judged(self, features: torch.Tensor) -> torch.Tensor:
        """Features [n, FEATURES] -> logits of the words [n, WORDS]."""
        out: torch.Tensor = self(features) @ self.table.T + self.bias
        return out


class Decoder(nn.Module):
    """A conditional VAE over codes: words, touch and a latent draw -> the code of a note."""

    def __init__(self, mean: Float32) -> None:
        super().__init__()
        known = len(WORDS) + 2
        self.read = nn.Sequential(nn.Linear(CODE + known, 128), nn.ReLU(), nn.Linear(128, 2 * LATENT))
        self.layers = nn.Sequential(
            nn.Linear(known + LATENT, 192), nn.ReLU(), nn.Linear(192, 192), nn.ReLU(), nn.Linear(192, 96), nn.ReLU()
        )
        self.last = nn.Linear(96, CODE)
        with torch.no_grad():
            self.last.bias.copy_(torch.from_numpy(mean))

    def forward(self, known: torch.Tensor, latent: torch.Tensor) -> torch.Tensor:
        """Known [n, WORDS + 2] and latent [n, LATENT] -> codes [n, CODE]."""
        out: torch.Tensor = self.last(self.layers(torch.cat([known, latent], dim=1)))
        return out


def train_listener(train: Examples, valid: Examples, config: LearnConfig, tell: Tell) -> Listener:
    """The listener of the step that judged the validation instruments best."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    listener = Listener(train.features.mean(axis=0), train.features.std(axis=0) + _SPREAD)
    optimiser = torch.optim.AdamW(listener.parameters(), 2e-3, weight_decay=1e-2)
    best, kept = np.inf, listener.state_dict()
    heard, wanted = torch.from_numpy(valid.features), torch.from_numpy(valid.words)
    for step in range(config.listener_steps):
        rows = rng.integers(0, len(train.features), config.batch)
        features = torch.from_numpy(train.features[rows])
        features = features + 0.1 * torch.randn_like(features)
        loss = F.binary_cross_entropy_with_logits(listener.judged(features), torch.from_numpy(train.words[rows]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 50 == 49 or step + 1 == config.listener_steps:
            listener.eval()
            with torch.no_grad():
                now = float(F.binary_cross_entropy_with_logits(listener.judged(heard), wanted))
            listener.train()
            if now < best:
                best, kept = now, {name: value.clone() for name, value in listener.state_dict().items()}
            tell(step + 1, config.listener_steps, f"learning to listen, loss {now:.3f}")
    listener.load_state_dict(kept)
    return listener.eval()


def train_decoder(train: Examples, config: LearnConfig, tell: Tell) -> tuple[Decoder, list[float]]:
    """The decoder after all steps, and the loss of each."""
    torch.manual_seed(config.seed + 1)
    rng = np.random.default_rng(config.seed + 1)
    decoder = Decoder(train.code.mean(axis=0))
    optimiser = torch.optim.Adam(decoder.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.decoder_steps, 2e-5)
    losses = []
    for step in range(config.decoder_steps):
        rows = rng.integers(0, len(train.code), config.batch)
        words = train.words[rows].copy()
        # A prompt may leave out source or family.
        words[rng.random(len(rows)) < 0.12, : len(SOURCES)] = 0.0
        words[rng.random(len(rows)) < 0.12, len(SOURCES) : len(SOURCES) + len(FAMILIES)] = 0.0
        known = torch.from_numpy(np.concatenate([words, train.touch[rows]], axis=1))
        code = torch.from_numpy(train.code[rows])
        mean, spread = decoder.read(torch.cat([code, known], dim=1)).chunk(2, dim=1)
        latent = mean + torch.exp(0.5 * spread) * torch.randn_like(mean)
        # Now and then the latent says nothing: the words must then say all they can.
        blind = torch.from_numpy(rng.random((len(rows), 1)) < BLIND)
        latent = torch.where(blind, torch.randn_like(latent), latent)
        error = decoder(known, latent) - code
        # What is silent and what is a mere -60 dB are nearly the same.
        weight = 0.25 + (code - DEEPEST_DB / UNIT_DB) / 4.0
        divergence = 0.5 * (mean**2 + torch.exp(spread) - 1.0 - spread).sum(dim=1).mean()
        loss = 300.0 * (weight * error**2).mean() + divergence
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 20 == 19 or step + 1 == config.decoder_steps:
            tell(step + 1, config.decoder_steps, f"learning to play, loss {np.mean(losses[-50:]):.1f}")
    return decoder.eval(), losses


def listener_bytes(listener: Listener, about: dict[str, object]) -> bytes:
    """ONNX: features [n, FEATURES] -> heard and judged (logits of words); words [m, WORDS] -> meant [m, EMBEDDING]."""
    first, second = _linear(listener.layers[0]), _linear(listener.layers[3])
    mean, deviation = listener.get_buffer("mean").numpy(), listener.get_buffer("deviation").numpy()
    weights = {
        "w0": first[0] / deviation[:, None],
        "b0": first[1] - (mean / deviation) @ first[0],
        "w1": second[0],
        "b1": second[1],
        "table": listener.table.detach().numpy(),
        "bias": listener.bias.detach().numpy(),
    }
    nodes = [
        helper.make_node("Gemm", ["features", "w0", "b0"], ["x0"]),
        helper.make_node("Relu", ["x0"], ["x1"]),
        helper.make_node("Gemm", ["x1", "w1", "b1"], ["heard"]),
        helper.make_node("Gemm", ["heard", "table", "bias"], ["judged"], transB=1),
        helper.make_node("MatMul", ["words", "table"], ["meant"]),
    ]
    ends: _Ends = (
        [("features", ["n", FEATURES]), ("words", ["m", len(WORDS)])],
        [("heard", ["n", EMBEDDING]), ("judged", ["n", len(WORDS)]), ("meant", ["m", EMBEDDING])],
    )
    return _model(nodes, weights, ends, about)


def decoder_bytes(decoder: Decoder, about: dict[str, object]) -> bytes:
    """ONNX: known [n, WORDS + 2] (words and touch) and latent [n, LATENT] -> code [n, CODE]."""
    layers = [_linear(decoder.layers[place]) for place in (0, 2, 4)] + [_linear(decoder.last)]
    weights: dict[str, Float32] = {}
    nodes, at = [helper.make_node("Concat", ["known", "latent"], ["h0"], axis=1)], "h0"
    for place, (matrix, bias) in enumerate(layers):
        weights |= {f"w{place}": matrix, f"b{place}": bias}
        last = place + 1 == len(layers)
        made = "code" if last else f"g{place}"
        nodes.append(helper.make_node("Gemm", [at, f"w{place}", f"b{place}"], [made]))
        if not last:
            nodes.append(helper.make_node("Relu", [made], [f"h{place + 1}"]))
        at = f"h{place + 1}"
    ends: _Ends = ([("known", ["n", len(WORDS) + 2]), ("latent", ["n", LATENT])], [("code", ["n", CODE])])
    return _model(nodes, weights, ends, about)


def _linear(layer: nn.Module) -> tuple[Float32, Float32]:
    """A linear layer's matrix [in, out] and bias."""
    assert isinstance(layer, nn.Linear)
    return layer.weight.detach().numpy().T.copy(), layer.bias.detach().numpy().copy()


def _model(
    nodes: list[onnx.NodeProto],
    weights: dict[str, Float32],
    ends: _Ends,
    about: dict[str, object],
) -> bytes:
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in side] for side in ends
    )
    stored = [numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "text", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    helper.set_model_props(model, {PROPERTY: json.dumps(about)})
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def learn(data: DataSet, folder: Path, config: LearnConfig, tell: Tell) -> list[str]:
    """Train both networks on a data set's training instruments and write them into a folder; what was skipped.

    The listener is chosen by the validation instruments; nothing is learned from the test ones.
    """
    train, skipped = examples_of(data.part("train"), tell)
    valid, more = examples_of(data.part("valid") or data.part("train"), tell)
    about: dict[str, object] = {
        "made": f"duende {__version__}",
        "notes": len(train.code),
        "seed": config.seed,
        "steps": [config.listener_steps, config.decoder_steps],
        "licence": "MIT",
    }
    listener = train_listener(train, valid, config, tell)
    decoder, _ = train_decoder(train, config, tell)
    write_atomically(folder / LISTENER, listener_bytes(listener, about))
    write_atomically(folder / DECODER, decoder_bytes(decoder, about))
    return [*skipped, *more]
