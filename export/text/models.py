"""The two networks that are shipped: opened with ONNX Runtime when first used, checked against this version's sizes."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from .envelope_code import CODE
from .features import FEATURES
from .vocabulary import QUALITIES, WORDS

Float32 = npt.NDArray[np.float32]

FOLDER = Path(__file__).parent / "models"
DECODER, LISTENER = "decoder.onnx", "listener.onnx"
PROPERTY = "duende-text"
MOST_BYTES = 64 << 20
LATENT, EMBEDDING = 24, 48
TOUCH = 2
ASKED = LATENT + TOUCH + len(QUALITIES)


class Network:
    """One ONNX file that answers named arrays with named arrays."""

    def __init__(self, path: Path, ends: Mapping[str, int]) -> None:
        import onnxruntime

        try:
            if path.stat().st_size > MOST_BYTES:
                raise DuendeError(f"{path}: larger than {MOST_BYTES >> 20} MiB")
            data = path.read_bytes()
        except OSError as error:
            raise DuendeError(
                f"{path}: {error.strerror or error}; `duende train default` makes it, or install again"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            session: Any = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own have no common class
            raise DuendeError(f"{path}: no ONNX model ({str(error).splitlines()[0]})") from error
        found = {end.name: end.shape[-1] for end in (*session.get_inputs(), *session.get_outputs()) if end.shape}
        if found != dict(ends):
            raise DuendeError(f"{path}: made for another version, or another model: {found} in place of {dict(ends)}")
        self._session = session
        try:
            self.about: dict[str, Any] = json.loads(session.get_modelmeta().custom_metadata_map.get(PROPERTY, "{}"))
        except json.JSONDecodeError as error:
            raise DuendeError(f"{path}: its property {PROPERTY} is no JSON") from error

    def __call__(self, wanted: str, inputs: Mapping[str, Float32]) -> Float32:
        """One output."""
        answer: Float32 = self._session.run([wanted], dict(inputs))[0]
        return answer


class Player:
    """The decoder: an instrument as a few numbers, and how it is touched, into the code of a note.

    known: the instruments that it learned from [n, LATENT]; named: what each is called [n, WORDS], a share of its notes
    for every word.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        path = folder / DECODER
        ends = (("asked", ASKED), ("code", CODE), ("known", LATENT), ("named", len(WORDS)))
        self._network = _open(path, ends)
        nothing = {"asked": np.zeros((1, ASKED), np.float32)}
        self.known = self._network("known", nothing)
        self.named = self._network("named", nothing)
        if len(self.known) != len(self.named) or not len(self.known):
            raise DuendeError(f"{path}: {len(self.known)} instruments with {len(self.named)} names")

    def code(self, instrument: Float32, touch: Float32, qualities: Float32) -> Float32:
        """Of an instrument [LATENT], touch [TOUCH] and qualities [QUALITIES]: the code [CODE]."""
        asked = np.concatenate([instrument, touch, qualities]).astype(np.float32)
        return np.asarray(self._network("code", {"asked": asked[None]})[0], dtype=np.float32)


class Listener:
    """The text-audio embedding: sounds and words in one space."""

    def __init__(self, folder: Path = FOLDER) -> None:
        path = folder / LISTENER
        self._network = _open(
            path,
            (
                ("features", FEATURES),
                ("words", len(WORDS)),
                ("heard", EMBEDDING),
                ("judged", len(WORDS)),
                ("meant", EMBEDDING),
            ),
        )

    def judged(self, features: Float32) -> Float32:
        """Of features [n, FEATURES], logits of every word [n, WORDS]."""
        return self._network("judged", {"features": features, "words": np.zeros((1, len(WORDS)), np.float32)})

    def heard(self, features: Float32) -> Float32:
        """Unit vectors [n, d] of features [n, FEATURES]."""
        return _unit(self._network("heard", {"features": features, "words": np.zeros((1, len(WORDS)), np.float32)}))

    def meant(self, words: Float32) -> Float32:
        """Unit vectors [n, d] of word vectors [n, WORDS]."""
        return _unit(self._network("meant", {"features": np.zeros((1, FEATURES), np.float32), "words": words}))


def _unit(rows: Float32) -> Float32:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)


@functools.cache
def _open(path: Path, ends: tuple[tuple[str, int], ...]) -> Network:
    return Network(path, dict(ends))
