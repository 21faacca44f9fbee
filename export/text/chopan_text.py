"""What tells ChopAN which pictures a sentence means: CLIP from a user's folder, or the embedding that is shipped."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from .features import features_of
from .models import Listener
from .vocabulary import understand_some

Float32 = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Sentences and sounds as unit vectors [d] of one space. name: so that vectors of two encoders are not mixed."""

    @property
    def name(self) -> str: ...

    def text(self, prompt: str) -> Float32: ...

    def sound(self, audio: Float32, sample_rate: int, picture: Float32) -> Float32: ...


class WordsEncoder:
    """The shipped text-audio embedding: it knows NSynth's words, and hears the sound itself."""

    name = "words"

    def __init__(self) -> None:
        self._listener = Listener()

    def text(self, prompt: str) -> Float32:
        """Of the words that are known; DuendeError where none is."""
        return np.asarray(self._listener.meant(understand_some(prompt).vector[None])[0], dtype=np.float32)

    def sound(self, audio: Float32, sample_rate: int, picture: Float32) -> Float32:
        """Of the first 4 s of a sound."""
        return np.asarray(self._listener.heard(features_of(audio, sample_rate)[None])[0], dtype=np.float32)


class ClipEncoder:
    """CLIP as published: the sentence as it is, and the spectrogram as a grey picture. Needs transformers."""

    def __init__(self, folder: Path) -> None:
        if not (folder / "config.json").is_file():
            raise DuendeError(f"{folder}: no CLIP model (config.json, model.safetensors and its tokeniser)")
        try:
            import torch
            from transformers import AutoTokenizer, CLIPModel
        except ImportError as error:
            raise DuendeError(f"CLIP needs {error.name}: pip install 'duende[train,text]'") from error
        self._torch: Any = torch
        try:
            model: Any = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            self._model: Any = model.eval()
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise DuendeError(f"{folder}: not a CLIP model ({str(error).splitlines()[0][:200]})") from error
        self.name = f"clip {folder.name}"

    def text(self, prompt: str) -> Float32:
        """Of the sentence, cut at CLIP's length."""
        longest = int(self._model.config.text_config.max_position_embeddings)
        tokens = self._tokenizer(prompt, return_tensors="pt", truncation=True, max_length=longest)
        with self._torch.no_grad():
            states = self._model.text_model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"])
            return _unit(self._model.text_projection(states.pooler_output)[0].numpy())

    def sound(self, audio: Float32, sample_rate: int, picture: Float32) -> Float32:
        """Of the picture [256, 64], highest bin on top, stretched to CLIP's square."""
        torch = self._torch
        side = int(self._model.config.vision_config.image_size)
        grey = torch.from_numpy(np.ascontiguousarray(picture[::-1]))[None, None]
        grey = torch.nn.functional.interpolate(grey, size=(side, side), mode="bilinear", align_corners=False)
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
        deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
        with torch.no_grad():
            states = self._model.vision_model(pixel_values=(grey.expand(1, 3, side, side) - mean) / deviation)
            return _unit(self._model.visual_projection(states.pooler_output)[0].numpy())


def encoder_of(clip: str | None) -> Encoder:
    """CLIP from a folder, or the shipped embedding."""
    return WordsEncoder() if clip is None else ClipEncoder(Path(clip))


def _unit(vector: Float32) -> Float32:
    return (vector / max(float(np.linalg.norm(vector)), 1e-9)).astype(np.float32)
