"""Provenance: what is written into a sound file comes back from it, in every format; other comments are left alone."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import pytest
import soundfile

from duende import DuendeError, __version__
from duende.export.provenance import (
    LONGEST,
    SYNTHETIC,
    Provenance,
    Source,
    comment,
    parse_comment,
    provenance,
    read_provenance,
    rows,
    sound_bytes,
    source_of,
    write_sound,
)
from signals import tone

RATE = 22050
FORMATS = [
    (".wav", "WAV", "PCM_24"),
    (".flac", "FLAC", "PCM_24"),
    (".aiff", "AIFF", "PCM_24"),
    (".ogg", "OGG", "VORBIS"),
    (".mp3", "MP3", "MPEG_LAYER_III"),
]


def origin(styles: int = 1, licence: str = "CC BY 4.0, “Müller”") -> Provenance:
    names = [("content", "gitarre ä.wav"), *(("style", f"cello number {index}.wav") for index in range(styles))]
    sources = [Source(role, name, hashlib.sha256(name.encode()).hexdigest(), licence) for role, name in names]
    return provenance("kernel, repaired", 7, sources, licence)


@pytest.mark.parametrize(("ending", "container", "subtype"), FORMATS, ids=lambda value: str(value))
def test_every_format_gives_back_what_was_written(ending: str, container: str, subtype: str, tmp_path: Path) -> None:
    path, written = tmp_path / f"made{ending}", origin()
    audio = np.stack([tone(220.0, RATE), tone(330.0, RATE)], axis=1)
    write_sound(path, audio, RATE, container, subtype, written)
    assert read_provenance(path) == written
    heard, rate = soundfile.read(path)
    assert rate == RATE
    assert heard.shape[1] == 2
    with soundfile.SoundFile(path) as sound:
        assert sound.title == "style transfer (kernel, repaired)"
        if container != "MP3":  # its encoder writes its own name there, and no copyright
            assert __version__ in sound.software
            assert "CC BY 4.0" in sound.copyright


@pytest.mark.parametrize(("ending", "container", "subtype"), FORMATS, ids=lambda value: str(value))
def test_many_sources_find_room_or_are_counted(ending: str, container: str, subtype: str, tmp_path: Path) -> None:
    path, written = tmp_path / f"made{ending}", origin(40)
    write_sound(path, tone(220.0, RATE), RATE, container, subtype, written)
    found = read_provenance(path)
    assert found is not None
    assert len(found.sources) + found.omitted == 41
    assert 8 <= len(found.sources) < 41
    for one, whole in zip(found.sources, written.sources, strict=False):
        assert one.name == whole.name
        assert len(one.sha256) == 16
        assert whole.sha256.startswith(one.sha256)
    assert rows(found)[-2] == ("and", f"{found.omitted} more sources that found no room")


def test_the_comment_keeps_its_bound_and_loses_nothing_while_there_is_room() -> None:
    assert len(comment(origin(40)).encode()) <= LONGEST
    assert parse_comment(comment(origin(5))) == origin(5)
    with pytest.raises(DuendeError, match="shorten names"):
        comment(msgspec.structs.replace(origin(), system="x" * LONGEST))


def test_a_source_is_its_bytes_and_tells_whether_it_was_made(tmp_path: Path) -> None:
    path = tmp_path / "take.wav"
    soundfile.write(path, tone(220.0, RATE), RATE)
    plain = source_of(path, "content", "my own\nplaying")
    assert plain == Source("content", "take.wav", hashlib.sha256(path.read_bytes()).hexdigest(), "my own playing")
    path.write_bytes(sound_bytes(tone(220.0, RATE), RATE, "WAV", "PCM_24", origin()))
    again = source_of(path, "content")
    assert again.synthetic == f"{SYNTHETIC}, by duende {__version__} (kernel, repaired)"
    assert again.synthetic in rows(provenance("cnn", 1, [again]))[3][1]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a plain comment",
        "{",
        '{"what": 3}',
        '{"duende": 2}',
        "[1]",
        "{" * 50000,
        '{"a":' * 10000,
        '{"duende":1,"a":' + "[" * 60000,
        "\0{}",
    ],
    ids=lambda value: value[:12],
)
def test_other_comments_say_nothing(text: str) -> None:
    assert parse_comment(text) is None


def test_another_version_is_not_guessed_at() -> None:
    text = comment(origin()).replace('"duende":1', '"duende":2')
    assert parse_comment(text) is None


def test_a_file_without_origin_and_one_that_is_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "take.wav"
    soundfile.write(path, tone(220.0, RATE), RATE)
    assert read_provenance(path) is None
    path.write_bytes(b"nothing")
    with pytest.raises(DuendeError, match="not a readable sound file"):
        read_provenance(path)
    with pytest.raises(DuendeError, match="cannot be read"):
        source_of(tmp_path / "none.wav", "style")


def test_names_cannot_carry_line_breaks_or_terminal_codes(tmp_path: Path) -> None:
    made = provenance("kernel", 1, [], "line\nbreak \x1b[31mred")
    assert made.licence == "line break [31mred"


def test_nothing_is_written_where_the_format_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(DuendeError, match="cannot write MP3"):
        write_sound(tmp_path / "made.mp3", tone(220.0, RATE), 12345, "MP3", "MPEG_LAYER_III", origin())
    assert list(tmp_path.iterdir()) == []
