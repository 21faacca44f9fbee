"""Rebuilding the factory presets: whatever plays a family's file plays it as it is then."""

from pathlib import Path

import pytest

from duende.presets.format import Preset, SlotPreset, encode_preset, hash_of
from duende.presets.library import Entry

pytestmark = pytest.mark.train
pytest.importorskip("torch")

from duende.export.factory import refresh  # noqa: E402


def test_presets_that_play_a_file_take_over_its_hash(tmp_path: Path) -> None:
    (tmp_path / "band.onnx").write_bytes(b"new")
    rigs = {
        "cello": [SlotPreset("style", "band.onnx", sha256=hash_of(b"old"))],
        "far": [SlotPreset("fx", effect="delay"), SlotPreset("style", "band.onnx", sha256=hash_of(b"old"))],
        "rain": [SlotPreset("style", "sky.onnx", sha256=hash_of(b"sky"))],
    }
    for name, slots in rigs.items():
        (tmp_path / f"{name}.toml").write_bytes(encode_preset(Preset(2, name, slots, {"output/gain": -1.0})))
    assert [entry.name for entry in refresh(tmp_path, "band.onnx")] == ["cello", "far"]
    for name, place in (("cello", 0), ("far", 1)):
        preset = Entry(name, tmp_path, factory=True).read()
        assert preset.slots[place].sha256 == hash_of(b"new")
        assert preset.values == {"output/gain": -1.0}
    assert Entry("rain", tmp_path, factory=True).read().slots == rigs["rain"]
