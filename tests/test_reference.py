"""docs/osc.md is what the nodes say, and says what a client has to know."""

import re

import pytest

from duende.engine.control.namespace import Node, Range
from duende.engine.control.reference import DOCUMENT, document, example_nodes


def test_the_committed_reference_is_current() -> None:
    assert DOCUMENT.read_text() == document(example_nodes()), "run `python -m duende.engine.control.reference`"


def test_every_address_has_one_row() -> None:
    nodes = example_nodes()
    text = document(nodes)
    rows = re.findall(r"^\| `(\S+)`( \*)? \|", text, re.MULTILINE)
    plain = [node.address for node in nodes if not node.address.endswith("/normalized")]
    assert sorted(address for address, _ in rows) == sorted(plain)
    starred = {address for address, star in rows if star}
    assert starred == {node.address.removesuffix("/normalized") for node in nodes if node.address not in plain}
    assert {"/duende/mix", "/duende/style/sax", "/duende/slot/1/cello"} <= starred
    assert "/duende/preset/load" not in starred


@pytest.mark.parametrize(
    ("node", "row"),
    [
        (
            Node("/duende/new", "if", "a | b", "s", (Range(1, 8), Range(0.0)), optional=1, write=lambda values: None),
            r"| `/duende/new` | i [f] | 1 to 8, from 0 | s | do | a \| b |",
        ),
        (
            Node("/duende/x", "s", "x", ranges=(Range(allowed=("a", "b")),), overload="i", read=lambda: ["a"]),
            "| `/duende/x` | s or i | a b |  | ask | x |",
        ),
        (Node("/duende/meter/in", "f", "x", "dB", stream=True), "| `/duende/meter/in` | f |  | dB | told | x |"),
    ],
)
def test_a_row_says_how_it_is_used(node: Node, row: str) -> None:
    assert row in document([node]).splitlines()


def test_new_addresses_find_their_section() -> None:
    text = document(
        [Node("/duende/meter/in", "f", "x"), Node("/duende/elsewhere", "f", "x"), Node("/duende/mix", "f", "x")]
    )
    assert re.findall("^### (.*)$", text, re.MULTILINE) == ["The whole chain", "Meters and status", "Others"]
