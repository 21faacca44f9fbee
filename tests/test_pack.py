"""Packs: what is packed is installed elsewhere, and hostile zips leave nothing behind."""

import io
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duende import DuendeError
from duende.presets import pack as packs
from duende.presets.format import Preset, SlotPreset, encode_preset, hash_of
from duende.presets.library import Library
from duende.presets.pack import MANIFEST, Manifest, install, pack

MODEL = b"model" * 20


def made(folder: Path) -> Library:
    """A player's library with the preset `mine`: a model, a response, an effect and a picture."""
    library = Library(folder / "presets", folder / "none")
    slots = [SlotPreset("style", "m.onnx"), SlotPreset("cabinet", "room.wav"), SlotPreset("fx", effect="delay")]
    preset = Preset(2, "mine", slots, snapshots={1: {"mix": 0.5}}, author="me")
    library.save("mine", preset, {"m.onnx": MODEL, "room.wav": b"wave"}, b"png")
    return library


def packed(folder: Path) -> Path:
    return pack(made(folder / "from").find("mine"), folder / "mine.duende")


def entries() -> dict[str, bytes]:
    """The files of a good pack, without its manifest."""
    preset = Preset(2, "mine", [SlotPreset("style", "m.onnx", sha256=hash_of(MODEL))])
    return {"mine.toml": encode_preset(preset), "m.onnx": MODEL}


def zipped(
    path: Path,
    files: dict[str, bytes],
    manifest: Manifest | bytes | None = None,
    change: Callable[[zipfile.ZipFile], None] | None = None,
) -> Path:
    """A zip of these files, with a manifest that fits unless another is given."""
    if manifest is None:
        manifest = Manifest(1, "mine", {name: hash_of(data) for name, data in files.items()})
    text = manifest if isinstance(manifest, bytes) else msgspec.toml.encode(manifest)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST, text)
        for name, data in files.items():
            archive.writestr(name, data)
        if change is not None:
            change(archive)
    return path


def refused(folder: Path, path: Path, words: str) -> None:
    library = Library(folder / "to" / "presets", folder / "none")
    with pytest.raises(DuendeError, match=words) as caught:
        install(library, path)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)
    assert not library.own.exists()


def test_a_pack_is_installed_as_it_was(tmp_path: Path) -> None:
    path = packed(tmp_path)
    library = Library(tmp_path / "to" / "presets", tmp_path / "none")
    entry = install(library, path)
    assert entry.read() == made(tmp_path / "again").find("mine").read()
    assert [entry.read_file(slot) for slot in entry.read().slots[:2]] == [MODEL, b"wave"]
    assert entry.picture_path.read_bytes() == b"png"
    assert pack(entry, tmp_path / "second.duende").read_bytes() == path.read_bytes()
    with pytest.raises(DuendeError, match=r"'mine' already: .*--force"):
        install(library, path)
    install(library, path, force=True)
    with pytest.raises(DuendeError, match=r"mine\.duende already"):
        pack(entry, path)
    with pytest.raises(DuendeError, match=r"ends in \.duende"):
        pack(entry, tmp_path / "mine.zip")


def test_a_preset_whose_file_is_another_is_not_packed(tmp_path: Path) -> None:
    library = made(tmp_path)
    (library.own / "m.onnx").write_bytes(b"other")
    found, wanted = hash_of(b"other"), hash_of(MODEL)
    with pytest.raises(DuendeError, match=rf"mine\.toml: m\.onnx .* expected {wanted}, found {found}"):
        pack(library.find("mine"), tmp_path / "mine.duende")
    (library.own / "m.onnx").unlink()
    with pytest.raises(DuendeError, match=r"mine\.toml: cannot read m\.onnx: No such file"):
        pack(library.find("mine"), tmp_path / "mine.duende")
    assert not (tmp_path / "mine.duende").exists()


@pytest.mark.parametrize(
    "name", ["../m.onnx", "/etc/m.onnx", "a/b.onnx", "..", "a\\b.onnx", "c:m.onnx", ".m.onnx", "dir/", "a\nb"]
)
def test_names_that_are_not_plain_are_refused(name: str, tmp_path: Path) -> None:
    refused(tmp_path, zipped(tmp_path / "x.duende", entries() | {name: b"x"}), "plain file names only")


def special(mode: int) -> Callable[[zipfile.ZipFile], None]:
    def change(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("link.onnx")
        info.external_attr = (mode | 0o777) << 16
        archive.writestr(info, "/etc/passwd")

    return change


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(mode: int, tmp_path: Path) -> None:
    refused(
        tmp_path, zipped(tmp_path / "x.duende", entries(), change=special(mode)), "is a link or another special file"
    )


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["m.onnx", "M.ONNX"])
def test_a_name_that_comes_twice_is_refused(name: str, tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.duende", entries(), change=lambda archive: archive.writestr(name, "x"))
    refused(tmp_path, path, "twice")


def test_what_is_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = {f"m{n}.onnx": b"x" for n in range(60)}
    refused(tmp_path, zipped(tmp_path / "many.duende", entries() | many), "63 files, at most 40")
    more = {f"{'m' * 180}{n}.onnx": b"x" for n in range(400)}
    refused(tmp_path, zipped(tmp_path / "more.duende", entries() | more), "list of files has")
    bomb = entries() | {"bomb.onnx": bytes(packs.MAX_FILE_BYTES + 1)}
    refused(tmp_path, zipped(tmp_path / "bomb.duende", bomb), r"'bomb\.onnx' has 67108865 bytes, at most 67108864")
    monkeypatch.setattr(packs, "MAX_TOTAL_BYTES", 2000)
    refused(tmp_path, zipped(tmp_path / "sum.duende", entries() | {"b.onnx": bytes(4000)}), "in all, at most 2000")
    large = tmp_path / "large.duende"
    large.write_bytes(bytes(2001))
    refused(tmp_path, large, "a file of at most 2000 bytes")


def test_a_size_that_is_not_true_is_refused(tmp_path: Path) -> None:
    """A bomb that declares a few bytes."""
    path = zipped(tmp_path / "x.duende", entries() | {"bomb.onnx": bytes(10_000_000)})
    data = path.read_bytes()
    true, told = (10_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little")
    assert data.count(true) == 2
    path.write_bytes(data.replace(true, told))
    refused(tmp_path, path, "bomb|CRC|size")


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    files = entries()
    good = {name: hash_of(data) for name, data in files.items()}
    cases: list[tuple[dict[str, bytes], Manifest | bytes | None, str]] = [
        (files, Manifest(1, "mine", good | {"m.onnx": hash_of(b"x")}), r"m\.onnx: sha256 expected"),
        (files, Manifest(1, "mine", {"mine.toml": good["mine.toml"]}), r"'m\.onnx' is not in manifest"),
        (files, Manifest(1, "mine", good | {"n.onnx": "x"}), r"'n\.onnx' is missing"),
        (files, Manifest(1, "../mine", good), r"preset name '\.\./mine'"),
        (files, Manifest(1, "other", good), r"other\.toml is missing"),
        (files, Manifest(2, "mine", good), "format 2, this version of duende reads 1"),
        (files, b"format = 1", "manifest"),
        (files, b"\xff", "manifest"),
        (files, b"a." * 200_000, "manifest"),
        (files | {"n.onnx": b"x"}, None, r"'n\.onnx' belongs to no slot"),
        ({"mine.toml": files["mine.toml"]}, None, r"slot 1: file 'm\.onnx' is missing"),
        (files | {"m.onnx": b"x"}, None, r"slot 1: sha256 of 'm\.onnx'"),
        (files | {"mine.toml": b"format = 3"}, None, "preset format 3"),
    ]
    for number, (contents, manifest, words) in enumerate(cases):
        refused(tmp_path, zipped(tmp_path / f"{number}.duende", contents, manifest), words)


@pytest.mark.parametrize(
    "data", [b"", b"PK", bytes(100), b"PK\x05\x06" + bytes(18), b"PK\x06\x07" + bytes(16) + b"PK\x05\x06" + bytes(18)]
)
def test_what_is_no_pack_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.duende"
    path.write_bytes(data)
    refused(tmp_path, path, "not a packed preset")
    refused(tmp_path, tmp_path, "not a packed preset")
    refused(tmp_path, tmp_path / "none.duende", "cannot read")


@settings(derandomize=True, max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=6)), min_size=1, max_size=3))
def test_damaged_packs_are_installed_whole_or_not_at_all(changes: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = packed(folder)
        data = bytearray(path.read_bytes())
        for place, piece in changes:
            start = place % len(data)
            data[start : start + len(piece)] = piece
        path.write_bytes(data)
        library = Library(folder / "to" / "presets", folder / "none")
        refusal = ""
        try:
            install(library, path)
        except DuendeError as error:
            refusal = str(error)
        assert "\n" not in refusal
        assert library.own.exists() != bool(refusal)
        if not refusal:
            preset = library.find("mine").read()
            assert [library.find("mine").read_file(slot) for slot in preset.slots[:2]] == [MODEL, b"wave"]


def test_an_encrypted_or_strange_entry_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.duende", entries())
    data = path.read_bytes()
    place = data.rfind(b"PK\x01\x02")
    locked = bytearray(data)
    locked[place + 8] |= 1
    path.write_bytes(locked)
    refused(tmp_path, path, "encrypted")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr(MANIFEST, b"x")
    path.write_bytes(buffer.getvalue())
    refused(tmp_path, path, "method 14: only deflate")
