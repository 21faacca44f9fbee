"""NSynth as TFRecord: what protobuf and the published check sums write is read, and hostile files are named."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

from duende import DuendeError
from duende.export.text import tfrecord
from duende.export.text.nsynth import check_sounds, read_nsynth
from duende.export.text.tfrecord import crc32c, masked_crc

RATE = 16000


def example_class() -> Any:
    """tf.train.Example as protobuf's own library makes it from its published definition."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tf", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name: str, *fields: tuple[str, int, Any, int, str]) -> Any:
        made = file.message_type.add(name=name)
        for field, number, kind, label, type_name in fields:
            one = made.field.add(name=field, number=number, type=kind, label=label)
            if type_name:
                one.type_name = type_name
        return made

    message("BytesList", ("value", 1, kinds.TYPE_BYTES, kinds.LABEL_REPEATED, ""))
    message("FloatList", ("value", 1, kinds.TYPE_FLOAT, kinds.LABEL_REPEATED, ""))
    message("Int64List", ("value", 1, kinds.TYPE_INT64, kinds.LABEL_REPEATED, ""))
    feature = message(
        "Feature",
        *((f"{name}_list", place, kinds.TYPE_MESSAGE, kinds.LABEL_OPTIONAL, f".tf.{name.capitalize()}List")
          for place, name in enumerate(("bytes", "float", "int64"), 1)),
    )  # fmt: skip
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = message(
        "Features", ("feature", 1, kinds.TYPE_MESSAGE, kinds.LABEL_REPEATED, ".tf.Features.FeatureEntry")
    )
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
    entry.field.add(
        name="value", number=2, type=kinds.TYPE_MESSAGE, label=kinds.LABEL_OPTIONAL, type_name=".tf.Feature"
    )
    message("Example", ("features", 1, kinds.TYPE_MESSAGE, kinds.LABEL_OPTIONAL, ".tf.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tf.Example"))


EXAMPLE = example_class()


def example(name: str, **changes: Any) -> bytes:
    """One note as NSynth writes it."""
    values: dict[str, Any] = {
        "note": 7,
        "note_str": name,
        "instrument_str": name.rsplit("-", 2)[0],
        "pitch": 60,
        "velocity": 100,
        "sample_rate": RATE,
        "audio": np.sin(np.arange(8000) / 10.0).astype(np.float32),
        "qualities": [0, 1, 0, 0, 0, 0, 0, 0, 1, 0],
        "qualities_str": ["dark", "reverb"],
        "instrument_family_str": "guitar",
        "instrument_source_str": "acoustic",
        **changes,
    }
    made = EXAMPLE()
    for key, value in values.items():
        if value is None:
            continue
        feature = made.features.feature[key]
        if isinstance(value, np.ndarray):
            feature.float_list.value.extend(value.tolist())
        elif isinstance(value, str) or (isinstance(value, list) and isinstance(value[0], str)):
            every = [value] if isinstance(value, str) else value
            feature.bytes_list.value.extend(one.encode() for one in every)
        else:
            feature.int64_list.value.extend(value if isinstance(value, list) else [value])
    data: bytes = made.SerializeToString()
    return data


def slow_crc(data: bytes) -> int:
    """Bit by bit, from the definition."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def record(message: bytes) -> bytes:
    def masked(data: bytes) -> bytes:
        crc = slow_crc(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    size = struct.pack("<Q", len(message))
    return size + masked(size) + message + masked(message)


def test_the_check_sum_is_the_published_one() -> None:
    assert crc32c(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283
    assert crc32c(np.zeros(32, np.uint8)) == 0x8A9136AA  # RFC 3720, B.4
    rng = np.random.default_rng(1)
    for size in (0, 1, 511, 512, 1024, 5000):
        data = rng.integers(0, 256, size).astype(np.uint8)
        assert crc32c(data) == slow_crc(data.tobytes())


def test_what_protobuf_writes_is_read(tmp_path: Path) -> None:
    names = ("guitar_acoustic_001-060-100", "guitar_acoustic_002-060-100")
    sound = np.random.default_rng(2).standard_normal(8000).astype(np.float32)
    data = record(example(names[1])) + record(example(names[0], audio=sound, pitch=61, qualities_str=None))
    path = tmp_path / "nsynth-test.tfrecord"
    path.write_bytes(data)
    for place in (path, tmp_path):
        found = check_sounds(read_nsynth(place))
        assert [note.name for note in found.notes] == list(names)
        assert not found.skipped
    first = found.notes[0]
    assert (first.pitch, first.velocity, first.instrument) == (61, 100, "guitar_acoustic_001")
    assert first.prompt == "acoustic dark reverb guitar"
    audio, rate = first.audio()
    assert rate == RATE
    assert np.array_equal(audio, sound)
    written = first.as_file(tmp_path / "files")
    assert np.array_equal(written.audio()[0], sound)
    assert written.record is None


def test_broken_records_are_named_and_the_others_kept(tmp_path: Path) -> None:
    good, other = example("bass_synthetic_000-040-075"), example("bass_synthetic_000-041-075")
    spoiled = bytearray(record(other))
    spoiled[len(spoiled) // 2] ^= 1  # within the sound
    parts = [
        record(good),
        bytes(spoiled),
        record(b"\x0a\xff\xff\xff\xff\x0f"),
        record(example("kazoo_acoustic_000-040-075", instrument_family_str="kazoo")),
        record(example("bass_acoustic_000-040-075", sample_rate=0)),
        record(example("../../escaped")),
        record(good),
        record(example("bass_synthetic_000-042-075"))[:-3],
    ]
    (tmp_path / "a.tfrecord").write_bytes(b"".join(parts))
    found = check_sounds(read_nsynth(tmp_path))
    assert [note.name for note in found.notes] == ["bass_synthetic_000-040-075"]
    said = "\n".join(found.skipped)
    assert len(found.skipped) == 7
    for what in ("CRC", "no Example", "'kazoo'", "0 Hz", "not the name", "there twice", "broken off within"):
        assert what in said, what


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not one record"),
        (b"abc", "broken off"),
        (b"\0" * 64, "length of record 0"),
        (struct.pack("<Q", 1 << 40) + struct.pack("<I", 0), "length of record 0"),
    ],
)
def test_what_is_no_tfrecord_is_one_line(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(data)
    with pytest.raises(DuendeError, match=said):
        read_nsynth(path)


def test_sizes_that_a_file_claims_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    huge = struct.pack("<Q", 1 << 40)
    path.write_bytes(huge + struct.pack("<I", masked_crc(np.frombuffer(huge, np.uint8))) + b"\0" * 100)
    (line,) = tfrecord.records(path)
    assert isinstance(line, str)
    assert "more than 16 MiB" in line
    many = EXAMPLE()
    for number in range(100):
        many.features.feature[f"x{number}"].int64_list.value.append(1)
    path.write_bytes(record(many.SerializeToString()))
    (line,) = tfrecord.records(path)
    assert "more than 64 features" in str(line)
    path.write_bytes(record(example("a", qualities=[0] * 5000)))
    (line,) = tfrecord.records(path)
    assert "too long" in str(line)
