"""Preset files: what is read back, what is refused with file and key, and files that are never half written."""

import errno
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from duende import DuendeError
from duende.presets.format import Preset, SlotPreset, encode_preset, read_preset, write_atomically

GOOD: dict[str, Any] = {
    "format": 1,
    "name": "cello",
    "slots": [{"kind": "style", "model": "cello.onnx", "bypass": False, "mix": 0.5, "values": {"amount": 0.75}}],
    "values": {"mix": 0.9},
    "tags": ["strings"],
    "description": "for tests",
}


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "sound.json"
    path.write_bytes(msgspec.json.encode(GOOD | changes))
    return path


def slot(**changes: Any) -> dict[str, Any]:
    return {"slots": [GOOD["slots"][0], GOOD["slots"][0] | changes]}


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    preset = read_preset(written(tmp_path))
    assert preset == Preset(
        1,
        "cello",
        [SlotPreset("style", "cello.onnx", False, 0.5, {"amount": 0.75})],
        {"mix": 0.9},
        ["strings"],
        "for tests",
    )
    again = tmp_path / "again.json"
    again.write_bytes(encode_preset(preset))
    assert read_preset(again) == preset
    assert again.read_text().count("\n") > 10, "indented for people"


def test_what_may_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "short.json"
    path.write_text('{"format": 1, "name": "x", "slots": [{"kind": "style", "model": "m.onnx"}]}')
    preset = read_preset(path)
    assert (preset.slots[0].mix, preset.slots[0].bypass, preset.values, preset.tags) == (1.0, False, {}, [])
    preset.values["mix"] = 0.5
    assert read_preset(path).values == {}


# What is wrong, and what the message must name beside the file.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"format": 2}, "format 2"),
    ({"format": 2, "colours": []}, "format 2"),
    ({"format": "one"}, "format"),
    ({"name": 3}, "name"),
    ({"slots": {}}, "slots"),
    ({"colour": "red"}, "colour"),
    ({"values": {"mix": "loud"}}, "values"),
    (slot(mix=1.5), "slot 2: mix 1.5"),
    (slot(mix=-0.1), "slot 2: mix -0.1"),
    (slot(mix="half"), "slots[1].mix"),
    (slot(kind="pyo"), "slot 2 is of kind 'pyo'"),
    (slot(colour="red"), "colour"),
    (slot(model="../cello.onnx"), "slot 2: model '../cello.onnx'"),
    (slot(model="/etc/cello.onnx"), "slot 2: model '/etc/cello.onnx'"),
    (slot(model="sub/cello.onnx"), "slot 2: model 'sub/cello.onnx'"),
    (slot(model="..\\cello.onnx"), "slot 2: model"),
    (slot(model="cello\x00.onnx"), "slot 2: model"),
    (slot(model="cello.pkl"), "slot 2: model 'cello.pkl'"),
    (slot(model=""), "slot 2: model ''"),
]


@pytest.mark.parametrize(("changes", "named"), REFUSED, ids=[named for _, named in REFUSED])
def test_refusals_name_file_and_key(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(DuendeError) as caught:
        read_preset(written(tmp_path, **changes))
    text = str(caught.value)
    assert text.startswith("sound.json")
    assert named in text
    assert "\n" not in text


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"format": 1}', b"[" * 100_000], ids=lambda data: repr(data[:8])
)
def test_what_is_no_preset_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "sound.json"
    path.write_bytes(data)
    with pytest.raises(DuendeError, match=r"^sound\.json") as caught:
        read_preset(path)
    assert "\n" not in str(caught.value)


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
