"""The shipped presets are as loud as the plain phrase, and measured as pyloudnorm measures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duende import DuendeError
from duende.export.pluck import demo_phrase
from duende.presets.format import Preset, encode_preset
from duende.presets.library import Entry, Library

pytestmark = pytest.mark.train
pytest.importorskip("pyloudnorm")

from duende.export.loudness import BOUND_DB, GAIN, RATE, loudness, match, matched_gain, preset_loudness  # noqa: E402

SHIPPED = Library(own=Path("none")).entries()


def test_a_sine_has_the_loudness_of_the_standard() -> None:
    """A sine of 997 Hz at full scale in one channel: -3.01 LUFS (BS.1770-4)."""
    time = np.arange(4 * RATE) / RATE
    tone = np.sin(2.0 * np.pi * 997.0 * time).astype(np.float32)
    assert loudness(tone) == pytest.approx(-3.01, abs=0.05)
    assert loudness(0.1 * tone) == pytest.approx(-23.01, abs=0.05)
    assert loudness(np.stack([tone, tone], axis=1)) == pytest.approx(-3.01, abs=0.05)
    one_side = np.stack([tone, 1e-6 * tone], axis=1)
    assert loudness(one_side) == pytest.approx(-6.02, abs=0.05), "half of the energy"


def shipped() -> list[Any]:
    """The factory presets; those with effects need pyo."""
    marks = [[pytest.mark.fx] if any(slot.kind == "fx" for slot in entry.read().slots) else [] for entry in SHIPPED]
    return [pytest.param(entry, marks=some, id=entry.name) for entry, some in zip(SHIPPED, marks, strict=True)]


@pytest.mark.parametrize("entry", shipped())
def test_shipped_presets_are_as_loud_as_the_plain_phrase(entry: Entry) -> None:
    phrase = demo_phrase(RATE)
    assert preset_loudness(entry, phrase) == pytest.approx(loudness(phrase), abs=BOUND_DB)


def test_the_gain_is_found_and_written(tmp_path: Path) -> None:
    """A wire that is 7.5 dB too loud; silence cannot be helped."""
    entry = Entry("wire", tmp_path, factory=True)
    entry.path.write_bytes(encode_preset(Preset(2, "wire", [], {"input/gain": 7.5, GAIN: 3.0}, ["x"])))
    phrase = demo_phrase(RATE)[: 3 * RATE]
    match([entry], phrase)
    assert entry.read() == Preset(2, "wire", [], {"input/gain": 7.5, GAIN: -7.5}, ["x"])
    entry.path.write_bytes(encode_preset(Preset(2, "wire", [], {"mute": 1.0})))
    with pytest.raises(DuendeError, match=r"wire: .* no output gain"):
        matched_gain(entry, phrase)
