"""Preset files: what is read back, what is refused with file and key, and files that are never half written."""

import errno
import os
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duende import DuendeError
from duende.presets.format import (
    MAX_BYTES,
    Preset,
    SlotPreset,
    decode_preset,
    encode_preset,
    read_preset,
    write_atomically,
)

HASH = "0123456789abcdef" * 4
GOOD: dict[str, Any] = {
    "format": 2,
    "name": "cello",
    "author": "somebody",
    "tempo": 120,
    "slots": [
        {"kind": "style", "file": "cello.onnx", "sha256": HASH, "mix": 0.5, "values": {"amount": 0.75}},
        {"kind": "cabinet", "file": "room.wav", "bypass": True},
        {"kind": "fx", "effect": "delay", "values": {"time": 0.25}},
    ],
    "values": {"mix": 0.9},
    "tags": ["strings"],
    "description": "for tests",
    "snapshots": {"1": {"slot/1/amount": 0.25}, "8": {}},
}
OLD: dict[str, Any] = {
    "format": 1,
    "name": "cello",
    "slots": [{"kind": "style", "model": "cello.onnx", "bypass": True, "mix": 0.5, "values": {"amount": 0.75}}],
    "values": {"mix": 0.9},
    "tags": ["strings"],
    "description": "for tests",
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "sound.toml"
    path.write_bytes(msgspec.toml.encode(GOOD | changes))
    return path


def written_old(folder: Path, **changes: Any) -> Path:
    path = folder / "sound.json"
    path.write_bytes(msgspec.json.encode(OLD | changes))
    return path


def slot(**changes: Any) -> dict[str, Any]:
    """Changes to the first slot, which comes last."""
    return {"slots": [GOOD["slots"][1], GOOD["slots"][0] | changes]}


def old_slot(**changes: Any) -> dict[str, Any]:
    return {"slots": [OLD["slots"][0], OLD["slots"][0] | changes]}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    preset = read_preset(written(tmp_path))
    assert preset == Preset(
        2,
        "cello",
        [
            SlotPreset("style", "cello.onnx", False, 0.5, {"amount": 0.75}, HASH),
            SlotPreset("cabinet", "room.wav", bypass=True),
            SlotPreset("fx", effect="delay", values={"time": 0.25}),
        ],
        {"mix": 0.9},
        ["strings"],
        "for tests",
        "somebody",
        120.0,
        {1: {"slot/1/amount": 0.25}, 8: {}},
    )
    again = tmp_path / "again.toml"
    again.write_bytes(encode_preset(preset))
    assert read_preset(again) == preset
    assert tomllib.loads(again.read_text())["slots"][2] == GOOD["slots"][2]


def test_presets_of_format_1_are_read_and_written_anew(tmp_path: Path) -> None:
    preset = read_preset(written_old(tmp_path))
    slots = [SlotPreset("style", "cello.onnx", True, 0.5, {"amount": 0.75})]
    assert preset == Preset(2, "cello", slots, {"mix": 0.9}, ["strings"], "for tests")
    (tmp_path / "new.toml").write_bytes(encode_preset(preset))
    assert read_preset(tmp_path / "new.toml") == preset


def test_what_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text("format = 2\nname = 'x'\n[[slots]]\nkind = 'style'\nfile = 'm.onnx'\n")
    preset = read_preset(path)
    assert (preset.slots[0].mix, preset.slots[0].bypass, preset.values, preset.tags) == (1.0, False, {}, [])
    assert (preset.tempo, preset.author, preset.snapshots) == (None, "", {})
    preset.values["mix"] = 0.5
    assert read_preset(path).values == {}


# What is wrong, and what the message must name beside the file.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"format": 1}, "format 1"),
    ({"format": 3, "colours": []}, "format 3"),
    ({"format": "two"}, "format"),
    ({"name": 3}, "name"),
    ({"name": "x" * 2001}, "name: 2001 letters"),
    ({"author": 1}, "author"),
    ({"author": "x" * 2001}, "author: 2001 letters"),
    ({"description": "x" * 2001}, "description: 2001 letters"),
    ({"tags": ["x"] * 33}, "tags: 33"),
    ({"tags": [1]}, "tags[0]"),
    ({"tempo": 20}, "tempo 20 is out of range: 30 to 300"),
    ({"tempo": float("nan")}, "tempo nan"),
    ({"slots": {}}, "slots"),
    ({"slots": [GOOD["slots"][1]] * 17}, "slots: 17, a chain has at most 16"),
    ({"colour": "red"}, "colour"),
    ({"co\nlour": "red"}, "co lour"),
    ({"values": {"mix": "loud"}}, "values"),
    ({"values": {"mix": float("inf")}}, "values: 'mix' is inf"),
    ({"values": {f"v{n}": 1 for n in range(513)}}, "values: 513"),
    ({"snapshots": {"9": {}}}, "snapshots: number 9"),
    ({"snapshots": {"0": {}}}, "snapshots: number 0"),
    ({"snapshots": {"one": {}}}, "snapshots"),
    ({"snapshots": {"2": {"mix": "x"}}}, "snapshots"),
    ({"snapshots": {"2": {"mix": float("nan")}}}, "snapshots.2: 'mix' is nan"),
    (slot(mix=1.5), "slot 2: mix 1.5"),
    (slot(branch="c"), "slot 2: branch 'c': write a or b"),
    (slot(mix=-0.1), "slot 2: mix -0.1"),
    (slot(mix=float("nan")), "slot 2: mix nan"),
    (slot(mix="half"), "slots[1].mix"),
    (slot(bypass=1), "slots[1].bypass"),
    (slot(values={"amount": float("nan")}), "slot 2: values: 'amount' is nan"),
    (slot(kind="pyo"), "slot 2 is of kind 'pyo', this version knows 'style', 'capture', 'cabinet', 'fx'"),
    (slot(colour="red"), "colour"),
    (slot(sha256="abc"), "slot 2: sha256 'abc'"),
    (slot(sha256="A" * 64), "slot 2: sha256"),
    (slot(effect="delay"), "slot 2: effect 'delay': a style has a file"),
    (slot(kind="fx"), "slot 2: file 'cello.onnx': an effect has none"),
    (slot(kind="fx", file="", sha256=""), "slot 2: effect ''"),
    (slot(kind="fx", file="", effect="a/b", sha256=""), "slot 2: effect 'a/b'"),
    (slot(kind="fx", file="", effect="delay"), "slot 2: sha256"),
    (slot(kind="cabinet", file="room.wav", effect="x"), "slot 2: file 'room.wav' and effect 'x'"),
    (slot(kind="cabinet"), "slot 2: file 'cello.onnx' must be a plain name ending in .wav"),
    (slot(file="../cello.onnx"), "slot 2: file '../cello.onnx'"),
    (slot(file="/etc/cello.onnx"), "slot 2: file '/etc/cello.onnx'"),
    (slot(file="sub/cello.onnx"), "slot 2: file 'sub/cello.onnx'"),
    (slot(file="..\\cello.onnx"), "slot 2: file"),
    (slot(file="cello\x00.onnx"), "slot 2: file"),
    (slot(file="cello.pkl"), "slot 2: file 'cello.pkl'"),
    (slot(file="x" * 200 + ".onnx"), "slot 2: file"),
    (slot(file=""), "slot 2: file ''"),
]
REFUSED_OLD: list[tuple[dict[str, Any], str]] = [
    ({"format": 2}, "format 2"),
    ({"format": "one"}, "format"),
    ({"author": "x"}, "author"),
    (old_slot(mix=1.5), "slot 2: mix 1.5"),
    (old_slot(kind="pyo"), "slot 2 is of kind 'pyo'"),
    (old_slot(file="x.onnx"), "file"),
    (old_slot(model="../cello.onnx"), "slot 2: model '../cello.onnx'"),
    (old_slot(model="cello.pkl"), "slot 2: model 'cello.pkl'"),
]


@pytest.mark.parametrize(("changes", "named"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_refusals_name_file_and_key(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    refuse(written(tmp_path, **changes), named)


@pytest.mark.parametrize(("changes", "named"), REFUSED_OLD, ids=[named for _, named in REFUSED_OLD])
def test_refusals_of_format_1_name_its_keys(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    refuse(written_old(tmp_path, **changes), named)


def refuse(path: Path, named: str) -> None:
    with pytest.raises(DuendeError) as caught:
        read_preset(path)
    text = str(caught.value)
    assert text.startswith(path.name)
    assert named in text
    assert "\n" not in text


HEAD = b"format = 2\nname = 'x'\nslots = []\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [("sound.json", data) for data in (b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000)]
    + [
        ("sound.toml", data)
        for data in (
            b"",
            b"format",
            b"\xff\xfe",
            b"format = 2",
            b"a = " + b"[" * 100_000,
            b"a." * 100_000 + b"a = 1",
            HEAD + b"tempo = " + b"9" * 400,
            HEAD + b"tempo = " + b"9" * 5000,
            HEAD + b"#" * MAX_BYTES,
        )
    ],
    ids=lambda data: repr(data[:12]),
)
def test_what_is_no_preset_is_refused(name: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    refuse(path, "preset")


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.data())
def test_any_text_is_read_or_refused_in_one_line(data: st.DataObject) -> None:
    """A good file with pieces cut out, doubled or put in."""
    text = bytearray(msgspec.toml.encode(GOOD))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 40)))
        piece = data.draw(
            st.one_of(st.binary(max_size=8), st.sampled_from([b"nan", b"\n", b'"', b"[[", b"= -1", b"."]))
        )
        text[start:end] = piece
    refusal, preset = "", None
    try:
        preset = decode_preset(bytes(text), "sound.toml")
    except DuendeError as error:
        refusal = str(error)
    assert "\n" not in refusal
    if preset is None:
        assert refusal.startswith("sound.toml: ")
    else:
        assert decode_preset(encode_preset(preset), "again.toml") == preset


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match=r"cannot read the preset .*none\.json: No such file"):
        read_preset(tmp_path / "none.json")


def test_writing_makes_folders_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "sound.json"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_the_old_file_stays_when_the_disk_is_full(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sound.json"
    write_atomically(path, b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    real = os.fdopen

    def half_full(handle: int, mode: str) -> Any:
        file = real(handle, mode, buffering=0)

        class Half:
            def __enter__(self) -> "Half":
                return self

            def __exit__(self, *_: object) -> None:
                file.close()

            def write(self, data: bytes) -> None:
                file.write(data[: len(data) // 2])
                full()

        return Half()

    if step == "write":
        monkeypatch.setattr(os, "fdopen", half_full)
    elif step == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    else:
        monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DuendeError, match=r"cannot write .*sound\.json: No space left on device"):
        write_atomically(path, b"new and longer")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DuendeError, match=r"cannot write .*sound\.json"):
        write_atomically(tmp_path / "file" / "sound.json", b"x")


def test_the_example_of_the_documentation_is_a_preset() -> None:
    text = (Path(__file__).parents[1] / "docs" / "preset-file.md").read_text()
    preset = decode_preset(text.split("```toml\n")[1].split("```")[0].encode(), "example.toml")
    assert [slot.kind for slot in preset.slots] == ["style", "fx"]
    assert preset.snapshots[1]["slot/1/amount"] == 0.5
