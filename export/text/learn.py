"""Trains the embedded default on a data set in NSynth's form: a listener for words, a decoder for instruments."""

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
from .additive import HARMONICS
from .analysis import envelopes_of
from .default import touch_of
from .envelope_code import CODE, LEVELS, encode
from .features import FEATURES, features_of
from .models import ASKED, DECODER, EMBEDDING, LATENT, LISTENER, PROPERTY
from .nsynth import DataSet, Note, heard
from .vocabulary import FAMILIES, QUALITIES, SOURCES, WORDS, vector_of

Float32 = npt.NDArray[np.float32]
Tell = Callable[[int, int, str], None]

OPSET = 17
_SPREAD = 0.05
_WARMTH = 0.1
_PRICE = 0.05
_GAIN = 0.25
COMPONENTS = 256
_PLAIN = 0.7
_CHOICES = ((0, len(SOURCES)), (len(SOURCES), len(SOURCES) + len(FAMILIES)))
_Ends = tuple[list[tuple[str, list[str | int]]], list[tuple[str, list[str | int]]]]


@dataclass(frozen=True)
class LearnConfig:
    """Steps of the two trainings, size of a batch, and the seed."""

    listener_steps: int = 2500
    decoder_steps: int = 5000
    batch: int = 64
    seed: int = 1


@dataclass(frozen=True)
class Examples:
    """Notes, a row each: features [n, FEATURES], code [n, CODE], words [n, WORDS], touch (pitch, velocity) [n, 2].

    instrument: numbers [n], the same for all notes of one.
    """

    features: Float32
    code: Float32
    words: Float32
    touch: Float32
    instrument: npt.NDArray[np.int64]


def examples_of(notes: Sequence[Note], tell: Tell) -> tuple[Examples, list[str]]:
    """Notes heard and analysed; those that cannot be are skipped and named. DuendeError where none is left."""
    features, codes, words, touch, instruments = [], [], [], [], []
    skipped: list[str] = []
    numbers: dict[str, int] = {}
    for note, audio, rate in heard(notes, skipped, tell):
        features.append(features_of(audio, rate))
        codes.append(encode(envelopes_of(audio, 440.0 * 2.0 ** ((note.pitch - 69) / 12.0), rate)))
        words.append(vector_of((note.source, note.family, *note.qualities)))
        touch.append(touch_of(note.pitch, note.velocity))
        instruments.append(numbers.setdefault(note.instrument, len(numbers)))
    if not features:
        raise DuendeError("none of the data set's notes can be used" + (f": {skipped[0]}" if skipped else ""))
    rows = np.stack(features), np.stack(codes), np.stack(words), np.stack(touch)
    return Examples(*rows, np.array(instruments)), skipped


class Listener(nn.Module):
    """Features into the words that describe a sound, and into a space where it lies near what they mean together."""

    def __init__(self, mean: Float32, deviation: Float32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("deviation", torch.from_numpy(deviation))
        self.body = nn.Sequential(nn.Dropout(0.3), nn.Linear(FEATURES, 192), nn.ReLU(), nn.Dropout(0.4))
        self.heard = nn.Linear(192, EMBEDDING)
        self.judge = nn.Linear(192, len(WORDS))
        self.meaning = nn.Parameter(0.3 * torch.randn(len(WORDS), EMBEDDING))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Features [n, FEATURES] -> embedding [n, EMBEDDING] and logits of the words [n, WORDS]."""
        x = self.body((features - self.get_buffer("mean")) / self.get_buffer("deviation"))
        return self.heard(x), self.judge(x)

    def loss(self, features: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """Every word a coin, source and family a choice; and each sound nearest to its own words among the batch's."""
        heard, judged = self(features)
        loss = F.binary_cross_entropy_with_logits(judged, words)
        for first, last in _CHOICES:
            loss = loss + 0.3 * F.cross_entropy(judged[:, first:last], words[:, first:last].argmax(dim=1))
        alike = F.normalize(heard) @ F.normalize(words @ self.meaning).T / _WARMTH
        # Sounds of the same words are no strangers to one another.
        same = (words[:, None] == words[None]).all(dim=2).float()
        same = same / same.sum(dim=1, keepdim=True)
        return loss + 0.15 * (F.cross_entropy(alike, same) + F.cross_entropy(alike.T, same))


class Decoder(nn.Module):
    """An autoencoder of instruments: from any note of one, and what was put on it, to any other note of it.

    The latent is told pitch, velocity and qualities on both sides, so that it keeps only what remains: the instrument.
    Codes are seen and made as weights of the training codes' principal components, which are fixed.
    """

    def __init__(self, mean: Float32, components: Float32) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("components", torch.from_numpy(components))
        count, told = len(components), ASKED - LATENT
        self.read = nn.Sequential(
            *(nn.Linear(count + told, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 2 * LATENT))
        )
        self.layers = nn.Sequential(
            *(nn.Linear(ASKED, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
        )
        self.last = nn.Linear(256, count)

    def weights(self, code: torch.Tensor) -> torch.Tensor:
        """Codes [n, CODE] -> weights of the components [n, components]."""
        return (code - self.get_buffer("mean")) * _scale() @ self.get_buffer("components").T

    def forward(self, latent: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        """Latent [n, LATENT] and told (touch and qualities) [n, ASKED - LATENT] -> weights [n, components]."""
        out: torch.Tensor = self.last(self.layers(torch.cat([latent, told], dim=1)))
        return out

    def instrument(self, weights: torch.Tensor, told: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Weights of a code and told -> mean and log variance of the latent, [n, LATENT] each."""
        mean, spread = self.read(torch.cat([weights, told], dim=1)).chunk(2, dim=1)
        return mean, spread.clamp(-8.0, 4.0)


def _scale() -> torch.Tensor:
    """How much each number of a code counts [CODE]; bells' partials lie anywhere, and would drown all else."""
    return torch.cat([torch.ones(LEVELS), torch.full((HARMONICS,), 0.35), torch.ones(CODE - LEVELS - HARMONICS)])


def principal_components(codes: Float32) -> tuple[Float32, Float32]:
    """Mean [CODE] and the first components [count, CODE] of codes [n, CODE], scaled; they are orthonormal."""
    mean = codes.mean(axis=0)
    scaled = torch.from_numpy(codes - mean) * _scale()
    # From the notes' products with one another: there are fewer notes than numbers in a code.
    values, vectors = torch.linalg.eigh((scaled @ scaled.T).double())
    count = max(1, min(COMPONENTS, len(codes) - 1))
    kept = vectors[:, -count:].flip(1) / torch.sqrt(values[-count:].flip(0).clamp(min=1e-9))
    return mean, np.ascontiguousarray((kept.T.float() @ scaled).numpy())


def train_listener(train: Examples, valid: Examples, config: LearnConfig, tell: Tell) -> Listener:
    """The listener of the step that judged the validation instruments best; families are heard equally often."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    listener = Listener(train.features.mean(axis=0), train.features.std(axis=0) + _SPREAD)
    optimiser = torch.optim.AdamW(listener.parameters(), 2e-3, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.listener_steps, 1e-4)
    best, kept = np.inf, listener.state_dict()
    heard, wanted = torch.from_numpy(valid.features), torch.from_numpy(valid.words)
    family = train.words[:, len(SOURCES) : len(SOURCES) + len(FAMILIES)].argmax(axis=1)
    share = 1.0 / np.bincount(family, minlength=len(FAMILIES))[family]
    share /= share.sum()
    for step in range(config.listener_steps):
        rows = rng.choice(len(share), config.batch, p=share)
        features = torch.from_numpy(train.features[rows])
        features = features + 0.15 * torch.randn_like(features)
        loss = listener.loss(features, torch.from_numpy(train.words[rows]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 100 == 99 or step + 1 == config.listener_steps:
            listener.eval()
            with torch.no_grad():
                now = float(listener.loss(heard, wanted))
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
    decoder = Decoder(*principal_components(train.code))
    optimiser = torch.optim.Adam(decoder.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.decoder_steps, 1e-5)
    partners = _Partners(train)
    weights = decoder.weights(torch.from_numpy(train.code))
    losses = []
    for step in range(config.decoder_steps):
        rows = rng.integers(0, len(train.code), config.batch)
        others = partners.drawn(rows, rng)
        mean, spread = decoder.instrument(weights[others], told_of(train, others))
        latent = mean + torch.exp(0.5 * spread) * torch.randn_like(mean)
        divergence = 0.5 * (mean**2 + torch.exp(spread) - 1.0 - spread).sum(dim=1).mean()
        error = ((decoder(latent, told_of(train, rows)) - weights[rows]) ** 2).sum(dim=1).mean()
        loss = _GAIN * error + _PRICE * divergence
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 50.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 50 == 49 or step + 1 == config.decoder_steps:
            tell(step + 1, config.decoder_steps, f"learning to play, loss {np.mean(losses[-50:]):.1f}")
    return decoder.eval(), losses


def told_of(examples: Examples, rows: npt.NDArray[np.int64]) -> torch.Tensor:
    """Touch and qualities of rows [n, ASKED - LATENT]."""
    return torch.from_numpy(np.concatenate([examples.touch[rows], examples.words[rows, -len(QUALITIES) :]], axis=1))


class _Partners:
    """Other notes of the same instrument, mostly those with the fewest qualities: they tell most of it."""

    def __init__(self, examples: Examples) -> None:
        qualities = examples.words[:, -len(QUALITIES) :].sum(axis=1)
        self._instrument = examples.instrument
        self._every, self._plain = {}, {}
        for one in np.unique(examples.instrument):
            rows = np.flatnonzero(examples.instrument == one)
            self._every[int(one)] = rows
            self._plain[int(one)] = rows[qualities[rows] == qualities[rows].min()]

    def drawn(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
        found = []
        for one in self._instrument[rows]:
            among = (self._plain if rng.random() < _PLAIN else self._every)[int(one)]
            found.append(int(rng.choice(among)))
        return np.array(found)

    def plain(self) -> list[npt.NDArray[np.int64]]:
        return list(self._plain.values())


def known_instruments(decoder: Decoder, train: Examples) -> tuple[Float32, Float32]:
    """Every instrument's latent, the mean over its plainest notes [n, LATENT], and its names [n, WORDS]."""
    latents, names = [], []
    with torch.no_grad():
        for rows in _Partners(train).plain():
            weights = decoder.weights(torch.from_numpy(train.code[rows]))
            mean, _ = decoder.instrument(weights, told_of(train, rows))
            latents.append(mean.mean(dim=0).numpy())
            names.append(train.words[rows].mean(axis=0))
    return np.stack(latents).astype(np.float32), np.stack(names).astype(np.float32)


def listener_bytes(listener: Listener, about: dict[str, object]) -> bytes:
    """ONNX: features [n, FEATURES] -> heard and judged (logits of words); words [m, WORDS] -> meant [m, EMBEDDING]."""
    first = _linear(listener.body[1])
    heard, judge = _linear(listener.heard), _linear(listener.judge)
    mean, deviation = listener.get_buffer("mean").numpy(), listener.get_buffer("deviation").numpy()
    weights = {
        "w0": first[0] / deviation[:, None],
        "b0": first[1] - (mean / deviation) @ first[0],
        "w1": heard[0],
        "b1": heard[1],
        "w2": judge[0],
        "b2": judge[1],
        "meaning": listener.meaning.detach().numpy(),
    }
    nodes = [
        helper.make_node("Gemm", ["features", "w0", "b0"], ["x0"]),
        helper.make_node("Relu", ["x0"], ["x1"]),
        helper.make_node("Gemm", ["x1", "w1", "b1"], ["heard"]),
        helper.make_node("Gemm", ["x1", "w2", "b2"], ["judged"]),
        helper.make_node("MatMul", ["words", "meaning"], ["meant"]),
    ]
    ends: _Ends = (
        [("features", ["n", FEATURES]), ("words", ["m", len(WORDS)])],
        [("heard", ["n", EMBEDDING]), ("judged", ["n", len(WORDS)]), ("meant", ["m", EMBEDDING])],
    )
    return _model(nodes, weights, ends, about)


def decoder_bytes(decoder: Decoder, known: Float32, named: Float32, about: dict[str, object]) -> bytes:
    """ONNX: asked [n, ASKED] (instrument, touch, qualities) -> code [n, CODE]; and the instruments that are known."""
    layers = [_linear(decoder.layers[place]) for place in (0, 2, 4)] + [_linear(decoder.last)]
    scale = _scale().numpy()
    mean, components = decoder.get_buffer("mean").numpy(), decoder.get_buffer("components").numpy()
    weights: dict[str, Float32] = {"instruments": known, "names": named, "mean": mean, "components": components / scale}
    nodes, at = [], "asked"
    for place, (matrix, bias) in enumerate(layers):
        weights |= {f"w{place}": matrix, f"b{place}": bias}
        last = place + 1 == len(layers)
        made = "weights" if last else f"g{place}"
        nodes.append(helper.make_node("Gemm", [at, f"w{place}", f"b{place}"], [made]))
        if not last:
            nodes.append(helper.make_node("Relu", [made], [f"h{place}"]))
        at = f"h{place}"
    nodes.append(helper.make_node("Gemm", ["weights", "components", "mean"], ["code"]))
    nodes.append(helper.make_node("Identity", ["instruments"], ["known"]))
    nodes.append(helper.make_node("Identity", ["names"], ["named"]))
    count = len(known)
    ends: _Ends = (
        [("asked", ["n", ASKED])],
        [("code", ["n", CODE]), ("known", [count, LATENT]), ("named", [count, len(WORDS)])],
    )
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
    known, named = known_instruments(decoder, train)
    write_atomically(folder / LISTENER, listener_bytes(listener, about))
    write_atomically(folder / DECODER, decoder_bytes(decoder, known, named, about))
    return [*skipped, *more]
