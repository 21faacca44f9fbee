"""Ways to spoil a good input: bytes of any kind, and JSON, TOML, zip and ONNX by their own structure.

A mutator takes bytes and a seeded generator, and returns other bytes; what it cannot take apart it changes as bytes.
"""

import io
import json
import random
import struct
import tomllib
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import onnx
import tomli_w
from onnx import TensorProto

Mutator = Callable[[bytes, random.Random], bytes]

MAX_BYTES = 1 << 17
INTEGERS = (0, 1, -1, 2, 7, 8, 127, 128, 255, 256, 1023, 4096, 32767, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
NUMBERS: tuple[Any, ...] = (
    *(0, 1, -1, 2, 3, 16, 17, 64, 512, 1024, 4097, 65536, 2**20, 2**24, 2**31, 2**53, 2**63, -(2**63), 10**30),
    *(0.0, -0.0, 0.5, 1e-30, 1e30, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
)
TEXTS = (
    *(
        "",
        " ",
        "a",
        "\0",
        "..",
        "../x",
        "/etc/passwd",
        "a/b",
        "C:\\x",
        "con",
        "x" * 300,
        "é" * 50,
        "\u202e",
        "\ud83c\udfb8",
    ),
    *(
        "#*,/?[]{}",
        "1" * 400,
        "%s%n",
        "nan",
        "1e999",
        "\n\r\t",
        "\ufeff",
        "-1",
        "0.5.4",
        "999.0",
        "mix",
        "amount",
        "mixer@2",
    ),
)


def mutate_bytes(data: bytes, rng: random.Random, words: Sequence[bytes] = ()) -> bytes:
    """Bits turned, bytes set, cut, doubled or moved, whole numbers at odd values, known words: some of it."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 9))):
        at, length = (rng.randrange(len(out)), min(len(out), 1 + int(rng.expovariate(0.1)))) if out else (0, 0)
        kind = rng.randrange(9)
        if kind == 0 and out:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and out:
            out[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x2F, 0x2C, rng.randrange(256)))
        elif kind == 2:
            del out[at : at + length]
        elif kind == 3:
            out[at:at] = out[at : at + length] * rng.choice((1, 2, 17))
        elif kind == 4 and out:
            size = rng.choice((1, 2, 4, 4, 8))
            number = rng.choice(INTEGERS) & (1 << 8 * size) - 1
            out[at : at + size] = number.to_bytes(size, rng.choice(("big", "little")))
        elif kind == 5 and words:
            out[at : at + rng.choice((0, 0, length))] = rng.choice(words)
        elif kind == 6:
            out[at:at] = rng.randbytes(length + 1)
        elif kind == 7 and out:
            there = rng.randrange(len(out))
            out[at : at + length] = out[there : there + length]
        elif kind == 8 and rng.random() < 0.3:
            del out[at:]
    return bytes(out[:MAX_BYTES])


def bytes_with(*words: bytes) -> Mutator:
    """Bytes, with words that the reader knows thrown in."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        return mutate_bytes(data, rng, words)

    return mutate


def mutate_tree(tree: Any, rng: random.Random) -> Any:
    """One change somewhere in nested lists and dictionaries, which are changed in place."""
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        # Long rows of numbers would be all that is ever hit.
        keys = list(one) if isinstance(one, dict) else list(range(len(one)))[:16]
        places += [(one, key) for key in keys]
        waiting += [one[key] for key in keys if isinstance(one[key], dict | list)]
    if not places:
        return tree
    holder, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = rng.choice((None, True, False, [], {}, [[]], [{}], {"": {}}))
    elif kind in (2, 3):
        holder[key] = rng.choice(NUMBERS)
    elif kind == 4:
        holder[key] = rng.choice(TEXTS)
    elif kind == 5:
        other, there = rng.choice(places)
        if there in other if isinstance(other, dict) else there < len(other):
            holder[key] = json.loads(json.dumps(other[there], default=str))
    elif kind == 6 and isinstance(holder, dict):
        holder[rng.choice(TEXTS)] = holder.pop(key)
    elif kind == 7 and isinstance(holder, list):
        holder[key:key] = [holder[key]] * rng.choice((1, 2, 40))
    return tree


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """JSON with changed members; one time in four its bytes."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        tree = None
    if not isinstance(tree, dict | list) or rng.random() < 0.25:
        words = (b"[" * 2000, b'{"a":' * 1200, b"1" * 5000, b"NaN", b"-Infinity", b'"\\ud800"', b"1e400", b"\xff\xfe")
        return mutate_bytes(data, rng, words)
    for _ in range(rng.choice((1, 1, 2, 3))):
        mutate_tree(tree, rng)
    return json.dumps(tree).encode()[: 4 * MAX_BYTES]


def mutate_toml(data: bytes, rng: random.Random) -> bytes:
    """TOML with changed members; one time in three its bytes."""
    try:
        tree = tomllib.loads(data.decode())
        if rng.random() < 0.33:
            raise ValueError
        for _ in range(rng.choice((1, 1, 2, 3))):
            mutate_tree(tree, rng)
        return tomli_w.dumps(_without_none(tree)).encode("utf-8", "surrogatepass")
    except (ValueError, TypeError, AttributeError, RecursionError):
        words = (
            b"a." * 60,
            b"[" * 900,
            b"[[",
            b"]]",
            b"= 9" + b"9" * 5000,
            b'"""',
            b"nan",
            b"1979-05-27",
            b"{a={a=" * 200,
        )
        return mutate_bytes(data, rng, (*words, b"x=" + b"[" * 600, b"0x" + b"f" * 400, b"\xff", b"[a.b.c]\n"))


def _without_none(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): _without_none(one) for key, one in tree.items() if one is not None}
    return [_without_none(one) for one in tree if one is not None] if isinstance(tree, list) else tree


def zip_of(files: dict[str, bytes]) -> bytes:
    """A zip file, deflated, without comment."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def zip_members(data: bytes) -> dict[str, bytes]:
    """The files in a zip of at most MAX_BYTES each; empty where it is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {one.filename: archive.open(one).read(MAX_BYTES) for one in archive.infolist()[:50]}
    except Exception:  # noqa: BLE001 - whatever it is, it cannot be taken apart
        return {}


def zip_with(remake: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Mutator:
    """Members of a zip spoiled; half of the time with `remake` making sums over them right again. Else its bytes."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        files = zip_members(data) if rng.random() < 0.75 else {}
        if not files:
            words = (b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04", b"PK\x06\x07", b"\x08\x00", b"\xff\xff\xff\xff")
            return mutate_bytes(data, rng, words)
        name = rng.choice(list(files))
        kind = rng.randrange(5)
        if kind == 0:
            files[rng.choice((*TEXTS, "a.onnx", "wire.png", "x.toml"))] = files.pop(name)
        elif kind == 1:
            files["x" + name] = files[name]
        elif kind == 2:
            del files[name]
        elif kind == 3:
            files[name] = bytes(rng.choice((0, 1, 1 << 16, 1 << 22)))
        else:
            files[name] = (mutate_toml if name.endswith(".toml") else mutate_bytes)(files[name], rng)
        try:
            return zip_of(remake(files) if rng.random() < 0.5 else files)
        except (ValueError, UnicodeError):
            return mutate_bytes(data, rng)

    return mutate


def onnx_with(key: str, allowed: Sequence[str]) -> Mutator:
    """Nodes, attributes, constants, shapes and the JSON under a metadata key of an ONNX file; else its bytes."""

    def mutate(data: bytes, rng: random.Random) -> bytes:
        model = onnx.ModelProto()
        try:
            model.ParseFromString(data)
        except Exception:  # noqa: BLE001 - protobuf's own class
            return mutate_bytes(data, rng)
        if not model.graph.node or rng.random() < 0.15:
            return mutate_bytes(data, rng)
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            _mutate_graph(model, key, allowed, rng)
        return bytes(model.SerializeToString())

    return mutate


def _mutate_graph(model: onnx.ModelProto, key: str, allowed: Sequence[str], rng: random.Random) -> None:
    graph = model.graph
    node = rng.choice(graph.node)
    names = [one.name for one in (*graph.input, *graph.initializer)] + [out for one in graph.node for out in one.output]
    kind = rng.randrange(12)
    if kind == 0:
        node.op_type = rng.choice(allowed)
    elif kind == 1 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif kind == 2:
        node.input.append(rng.choice(names))
    elif kind == 3 and node.attribute:
        attribute = rng.choice(node.attribute)
        if attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice((*INTEGERS, -(2**63), 2**62))
        elif attribute.type == onnx.AttributeProto.INT:
            attribute.i = rng.choice((*INTEGERS, -(2**63), 2**62))
        else:
            attribute.name = rng.choice(("axis", "alpha", "pads", "strides", "group", "x"))
    elif kind == 4 and graph.initializer:
        constant = rng.choice(graph.initializer)
        if constant.dims:
            constant.dims[rng.randrange(len(constant.dims))] = rng.choice((*INTEGERS, 2**40, -(2**62)))
        else:
            constant.dims.append(rng.choice((0, 1, 2**40)))
    elif kind == 5 and graph.initializer:
        constant = rng.choice(graph.initializer)
        if constant.data_type == TensorProto.INT64 and len(constant.raw_data) >= 8:
            at = 8 * rng.randrange(len(constant.raw_data) // 8)
            number = struct.pack("<q", rng.choice((*INTEGERS, -2, 2**40, 2**62, -(2**63))))
            constant.raw_data = constant.raw_data[:at] + number + constant.raw_data[at + 8 :]
        else:
            constant.raw_data = mutate_bytes(constant.raw_data[:4096], rng) + constant.raw_data[4096:]
    elif kind == 6:
        del graph.node[rng.randrange(len(graph.node))]
    elif kind == 7:
        doubled = graph.node.add()
        doubled.op_type, doubled.name = (
            rng.choice(("Concat", "MatMul", "Mul", "Unsqueeze", "Split")),
            f"x{rng.random()}",
        )
        doubled.input.extend([rng.choice(names)] * 2)
        doubled.output.append(f"x{rng.random()}")
        rng.choice(graph.node).input[:1] = doubled.output
    elif kind == 8:
        value = rng.choice([*graph.input, *graph.output])
        shape = value.type.tensor_type.shape
        if shape.dim:
            shape.dim[rng.randrange(len(shape.dim))].dim_value = rng.choice(INTEGERS)
    elif kind == 9:
        constant = rng.choice(graph.initializer) if graph.initializer else None
        if constant is not None:
            constant.data_type = rng.choice((1, 6, 7, 8, 9, 10, 11, 16, 17, 23, 99))
    else:
        for entry in model.metadata_props:
            if entry.key == key:
                # What is not UTF-8 comes as bytes.
                text: Any = entry.value
                held = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
                entry.value = mutate_json(held, rng).decode("utf-8", "replace")


def mutate_sound(data: bytes, rng: random.Random) -> bytes:
    """The head of a sound file more often than its samples: numbers of channels, rates, frames, sizes of chunks."""
    head = min(len(data), rng.choice((48, 120, 400, len(data))))
    words = (b"RIFF", b"RF64", b"WAVE", b"fmt ", b"data", b"ds64", b"fLaC", b"OggS", b"FORM", b"COMM", b"SSND", b"ID3")
    return (mutate_bytes(data[:head], rng, words) + data[head:])[:MAX_BYTES]
