"""A data set heard once for all: pictures and embeddings of its notes, in shards (`duende dataset prepare`)."""

import io
import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ... import DuendeError
from ...presets.format import write_atomically
from ..text.chopan_pictures import HEIGHT, WIDTH, picture_of
from ..text.nsynth import DataSet, Note
from ..work.driver import Item
from ..work.kinds import Given, Made
from ..work.task import Source, Task

SHARD = "shard"
NOTES = 64
"""Of a shard: a task takes seconds, and little is lost with one."""

INDEX, SHARDS = "index.json", "shards"
FORMAT = 1


def note_items(data: DataSet, target: Path, limit: int | None = None) -> tuple[int, Iterator[Item]]:
    """How many shards, and one by one, to target/shards. limit: so many notes at most."""
    notes = data.notes[:limit]
    cut = [notes[start : start + NOTES] for start in range(0, len(notes), NOTES)]

    def items() -> Iterator[Item]:
        for number, part in enumerate(cut):
            inputs, missing = {}, []
            for place, note in enumerate(part):
                try:
                    inputs[f"{place:03d}"] = _source(note)
                except DuendeError as error:
                    missing.append([note.name, str(error)])
            name = f"{number:06d}"
            names = {f"{place:03d}": note.name for place, note in enumerate(part)}
            parameters = {"names": {slot: names[slot] for slot in inputs}, "missing": missing}
            yield Item(
                f"notes {part[0].name} to {part[-1].name}",
                Task(f"shard {name}", "notes", parameters, inputs),
                places={SHARD: target / SHARDS / f"{name}.npz"},
            )

    return len(cut), items()


def _source(note: Note) -> Source:
    """Its file; of a note in a file of many records its sound alone, as a file of the same samples."""
    if note.record is None:
        return Source.of_file(note.path)
    with tempfile.TemporaryDirectory() as folder:
        path = note.as_file(Path(folder)).path
        return Source.of_bytes(path.read_bytes(), path.name)


def work(given: Given) -> Made:
    """Hear the notes of a shard; those that cannot be heard are named."""
    from ..text.chopan_text import WordsEncoder

    encoder = WordsEncoder()
    names: list[str] = []
    skipped = [tuple(one) for one in given.parameters["missing"]]
    pictures, ranges, embeddings = [], [], []
    for slot, name in sorted(given.parameters["names"].items()):
        note = Note(name, given.inputs[slot], 0, 0, "", "", "", ())
        try:
            audio, rate = note.audio()
        except DuendeError as error:
            skipped.append((name, str(error).replace(str(note.path), note.path.name)))
            continue
        picture, least, most = picture_of(audio, rate)
        names.append(name)
        pictures.append(np.round(255.0 * picture).astype(np.uint8))
        ranges.append((least, most))
        embeddings.append(encoder.sound(audio, rate, picture))
    wide = len(embeddings[0]) if embeddings else 0
    arrays = {
        "pictures": np.array(pictures, np.uint8).reshape(-1, HEIGHT, WIDTH),
        "ranges": np.array(ranges, np.float32).reshape(-1, 2),
        "embeddings": np.array(embeddings, np.float32).reshape(len(names), wide),
    }
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # the stub takes the names for options
    return Made({SHARD: file.getvalue()}, {"names": names, "skipped": skipped, "encoder": encoder.name})


def write_index(target: Path, shards: dict[str, Any], left_out: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """What the shards hold, written last; how many notes, and how many were skipped. shards: `work`'s data by file."""
    skipped = [[name, reason] for name, reason in left_out]
    skipped += [one for name in sorted(shards) for one in shards[name]["skipped"]]
    rows = {name: shards[name]["names"] for name in sorted(shards)}
    encoders = sorted({one["encoder"] for one in shards.values()})
    index = {"format": FORMAT, "encoder": " ".join(encoders), "shards": rows, "skipped": skipped}
    write_atomically(target / INDEX, json.dumps(index, indent=1).encode())
    return sum(map(len, rows.values())), len(skipped)


def prepared(
    folder: Path, notes: Sequence[Note], encoder: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32], list[str]]:
    """Pictures, ranges and embeddings of notes in their order, and those that were skipped, a line each.

    DuendeError for a folder that was not prepared, not for these notes, or with another encoder.
    """
    try:
        index = json.loads((folder / INDEX).read_bytes())
        if index["format"] != FORMAT:
            raise DuendeError(f"{folder / INDEX}: format {index['format']}; this version reads {FORMAT}")
        if index["encoder"] != encoder:
            raise DuendeError(f"{folder}: prepared with the encoder {index['encoder']!r}, not {encoder!r}")
        skipped = {str(name): str(reason) for name, reason in index["skipped"]}
        places = {name: (shard, row) for shard, names in index["shards"].items() for row, name in enumerate(names)}
    except OSError as error:
        raise DuendeError(f"{folder / INDEX}: {error.strerror or error}; `duende dataset prepare` writes it") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DuendeError(f"{folder / INDEX}: not an index of a prepared data set") from error
    wanted = [places[note.name] for note in notes if note.name in places]
    unknown = [note.name for note in notes if note.name not in places and note.name not in skipped]
    if unknown:
        raise DuendeError(f"{folder}: {len(unknown)} notes were not prepared, {unknown[0]!r} the first")
    if not wanted:
        raise DuendeError(f"{folder}: none of {len(notes)} notes can be used")
    opened = {shard: _shard(folder / SHARDS / Path(shard).name) for shard in sorted({shard for shard, _ in wanted})}
    columns = [[opened[shard][column][row] for shard, row in wanted] for column in range(3)]
    lines = [f"{note.name!r}: {skipped[note.name]}" for note in notes if note.name in skipped]
    return np.stack(columns[0]), np.stack(columns[1]), np.stack(columns[2]), lines


def _shard(path: Path) -> tuple[npt.NDArray[Any], ...]:
    try:
        with np.load(path, allow_pickle=False) as file:
            found = tuple(file[name] for name in ("pictures", "ranges", "embeddings"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DuendeError(f"{path}: not a whole shard; `duende dataset prepare` makes it anew") from error
    pictures, ranges, embeddings = found
    if (
        pictures.dtype != np.uint8
        or pictures.shape[1:] != (HEIGHT, WIDTH)
        or not len(pictures) == len(ranges) == len(embeddings)
    ):
        raise DuendeError(f"{path}: not a shard of notes")
    return found
