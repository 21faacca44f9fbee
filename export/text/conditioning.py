"""What a denoising network is told of the prompt: padded token ids as published in 2024, or states of T5's encoder.

The thesis behind audio-diffusion's conditional form takes T5's tokeniser alone: a prompt is 100 integers, so a word's
number is taken for its meaning. The repair is the encoder after the tokeniser, with a mask over its padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ... import DuendeError
from .parts import MOST_JSON, library, load, save, short

Conditioning = Literal["token-ids", "t5"]

TOKENS = 100
PAD, UNKNOWN = "<pad>", "<unk>"


@dataclass(frozen=True)
class Condition:
    """states: tensor [prompts, tokens, dimensions]; mask: bool tensor [prompts, tokens], true where a token is."""

    states: Any
    mask: Any | None = None


class TextCoder(Protocol):
    """From prompts to a condition; the empty prompt is the one that guidance goes away from."""

    dimensions: int

    def __call__(self, prompts: Sequence[str]) -> Condition: ...

    def unknown(self, prompt: str) -> list[str]:
        """Words of the prompt that it has no token for."""
        ...

    def save(self, folder: Path) -> None: ...


class Tokeniser:
    """A tokenizer.json of `tokenizers` (T5's, or `of_words`)."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        pad = tokenizer.token_to_id(PAD)
        self.pad = 0 if pad is None else int(pad)
        self.size = int(tokenizer.get_vocab_size())
        self._unknown = tokenizer.token_to_id(UNKNOWN)

    @classmethod
    def read(cls, folder: Path) -> "Tokeniser":
        path = folder / "tokenizer.json"
        if not path.is_file():
            raise DuendeError(f"{folder}: no tokenizer.json in it")
        if path.stat().st_size > MOST_JSON:
            raise DuendeError(f"{path}: larger than {MOST_JSON >> 20} MB")
        try:
            tokenizer = library("tokenizers").Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises no other
            raise DuendeError(f"{path}: not a tokeniser ({short(error)})") from error
        tokenizer.no_padding()
        tokenizer.no_truncation()
        return cls(tokenizer)

    @classmethod
    def of_words(cls, prompts: Sequence[str]) -> "Tokeniser":
        """One token for each word of these prompts, in alphabetical order."""
        words = sorted({word for prompt in prompts for word in prompt.lower().split()})
        tokenizers = library("tokenizers")
        numbers = {word: number for number, word in enumerate([PAD, "</s>", UNKNOWN, *words])}
        made = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token=UNKNOWN))
        made.normalizer = tokenizers.normalizers.Lowercase()
        made.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
        return cls(made)

    def ids(self, prompt: str, most: int) -> list[int]:
        return [int(one) for one in self._tokenizer.encode(prompt).ids[:most]]

    def unknown(self, prompt: str) -> list[str]:
        if self._unknown is None:
            return []
        return [word for word in prompt.split() if self._unknown in self._tokenizer.encode(word).ids]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._tokenizer.save(str(folder / "tokenizer.json"))


class TokenIds:
    """Faithful: the ids themselves, padded to 100, as one vector of 100 dimensions; the empty prompt is all padding."""

    dimensions = TOKENS

    def __init__(self, tokeniser: Tokeniser) -> None:
        self._tokeniser = tokeniser

    def __call__(self, prompts: Sequence[str]) -> Condition:
        torch = library("torch")
        rows = []
        for prompt in prompts:
            ids = self._tokeniser.ids(prompt, TOKENS) if prompt else []
            rows.append([*ids, *[self._tokeniser.pad] * (TOKENS - len(ids))])
        return Condition(torch.tensor(rows, dtype=torch.float32)[:, None])

    def unknown(self, prompt: str) -> list[str]:
        return self._tokeniser.unknown(prompt)

    def save(self, folder: Path) -> None:
        self._tokeniser.save(folder / "tokenizer")


class EncoderStates:
    """Repaired, and TANGO's own: the last states of a T5 encoder, and a mask over the padding."""

    def __init__(self, tokeniser: Tokeniser, encoder: Any, most: int = 512) -> None:
        self._tokeniser, self.encoder, self._most = tokeniser, encoder, most
        self.dimensions = int(encoder.config.d_model)
        if tokeniser.size > encoder.config.vocab_size:
            raise DuendeError(
                f"a tokeniser of {tokeniser.size} tokens does not belong to a text encoder of "
                f"{encoder.config.vocab_size}: take both from one place"
            )

    @classmethod
    def read(cls, folder: Path) -> "EncoderStates":
        return cls(
            Tokeniser.read(folder / "tokenizer"), load("transformers", "T5EncoderModel", folder / "text_encoder")
        )

    def __call__(self, prompts: Sequence[str]) -> Condition:
        torch = library("torch")
        rows = [self._tokeniser.ids(prompt, self._most) or [self._tokeniser.pad] for prompt in prompts]
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[self._tokeniser.pad] * (longest - len(row))] for row in rows])
        mask = torch.tensor([[place < len(row) for place in range(longest)] for row in rows])
        ids, mask = ids.to(self.encoder.device), mask.to(self.encoder.device)
        states = self.encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return Condition(states, mask)

    def unknown(self, prompt: str) -> list[str]:
        return self._tokeniser.unknown(prompt)

    def save(self, folder: Path) -> None:
        self._tokeniser.save(folder / "tokenizer")
        save(self.encoder, folder / "text_encoder")
