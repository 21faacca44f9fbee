"""Captures by name: what the library takes, what it refuses, and that presets and packs carry them like models."""

from pathlib import Path

import pytest

from duende import DuendeError
from duende.presets.captures import Captures
from duende.presets.format import FORMAT, Preset, SlotPreset, decode_preset, encode_preset, hash_of, name_from
from duende.presets.library import Library
from duende.presets.pack import install, pack


@pytest.fixture
def captures(tmp_path: Path) -> Captures:
    return Captures(tmp_path / "captures")


def test_captures_by_name(captures: Captures) -> None:
    assert captures.entries() == {}
    path = captures.add("twin-clean", b"one")
    assert path == captures.folder / "twin-clean.onnx"
    captures.add("twin", b"two")
    for other in ("notes.txt", "Upper.onnx", ".twin.onnx.half", "sp ace.onnx"):
        (captures.folder / other).write_bytes(b"x")
    assert list(captures.entries()) == ["twin", "twin-clean"]
    assert captures.find("twin").read_bytes() == b"two"
    with pytest.raises(DuendeError, match=r"a capture 'twin' already: .*--force"):
        captures.add("twin", b"three")
    assert captures.find("twin").read_bytes() == b"two"
    captures.add("twin", b"three", force=True)
    assert captures.find("twin").read_bytes() == b"three"
    captures.remove("twin")
    assert list(captures.entries()) == ["twin-clean"]


@pytest.mark.parametrize("name", ["", "..", "../a", "a/b", "A", "a b", "-a", "x" * 64, "a\n", "/tmp/a", "a.onnx"])
def test_names_of_captures_are_no_paths(name: str, captures: Captures) -> None:
    (captures.folder.parent / "a.onnx").write_bytes(b"outside")
    captures.add("b", b"inside")
    with pytest.raises(DuendeError, match="1 to 63 lower-case letters"):
        captures.add(name, b"new")
    with pytest.raises(DuendeError, match="no capture"):
        captures.find(name)
    with pytest.raises(DuendeError, match="no capture"):
        captures.remove(name)
    assert sorted(path.name for path in captures.folder.parent.rglob("*.onnx")) == ["a.onnx", "b.onnx"]


def test_what_is_not_there_is_said_in_one_line_however_many_there_are(captures: Captures) -> None:
    with pytest.raises(DuendeError, match="no capture 'twin'; there are none: duende import FILE"):
        captures.find("twin")
    captures.add("twins", b"")
    with pytest.raises(DuendeError, match="there are: twins"):
        captures.find("twin")
    for number in range(500):
        captures.add(f"amp-{number}", b"")
    with pytest.raises(DuendeError, match=r"near it: twins; `duende captures list` shows all 501") as caught:
        captures.find("twin")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Fender Twin (SM57) [ESR 0.004]", "fender-twin-sm57-esr-0-004"),
        ("JCM800 — Österreich", "jcm800-osterreich"),
        ("../../etc/passwd", "etc-passwd"),
        ("x" * 80, "x" * 63),
        ("a" * 62 + " b", "a" * 62),
        ("日本", ""),
        ("--", ""),
    ],
)
def test_names_are_made_of_any_text(text: str, name: str, captures: Captures) -> None:
    assert name_from(text) == name
    if name:
        assert captures.name_for(text) == name
        captures.add(captures.name_for(text), b"")
    else:
        with pytest.raises(DuendeError, match="--name"):
            captures.name_for(text)


def test_a_slot_plays_a_capture_from_a_file_and_nothing_else() -> None:
    preset = Preset(FORMAT, "rig", [SlotPreset("capture", "twin.onnx", values={"drive": 0.3}, sha256="0" * 64)])
    assert decode_preset(encode_preset(preset), "rig.toml") == preset
    for slot, message in (
        (SlotPreset("capture", "twin.nam"), r"slot 1: file 'twin\.nam' must be a plain name ending in \.onnx"),
        (SlotPreset("capture", "../twin.onnx"), "must be a plain name"),
        (SlotPreset("capture"), "must be a plain name"),
        (SlotPreset("capture", effect="twin"), "effect 'twin': a capture has a file instead"),
    ):
        with pytest.raises(DuendeError, match=message):
            decode_preset(encode_preset(Preset(FORMAT, "rig", [slot])), "rig.toml")


def test_presets_and_packs_carry_captures(tmp_path: Path) -> None:
    library = Library(tmp_path / "presets", tmp_path / "none")
    data = {"twin.onnx": b"capture", "room.wav": b"response"}
    preset = Preset(FORMAT, "rig", [SlotPreset("capture", "twin.onnx"), SlotPreset("cabinet", "room.wav")])
    entry = library.save("rig", preset, data)
    assert [slot.sha256 for slot in entry.read().slots] == [hash_of(data[name]) for name in data]
    packed = pack(entry, tmp_path / "rig.duende")
    other = Library(tmp_path / "other" / "presets", tmp_path / "none")
    assert install(other, packed).read() == entry.read()
    assert (other.own / "twin.onnx").read_bytes() == b"capture"
    (entry.folder / "twin.onnx").write_bytes(b"another")
    with pytest.raises(DuendeError, match=r"rig\.toml: twin\.onnx is another file"):
        pack(entry, tmp_path / "again.duende")
    with pytest.raises(DuendeError, match="must be a plain name"):
        library.save("bad", Preset(FORMAT, "bad", [SlotPreset("capture")]), {})
