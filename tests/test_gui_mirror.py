"""What the GUI keeps of a host: the tree as pages need it, values, and what is new; from hosts that lie, too."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from duende.gui.mirror import MAX_NODES, Mirror


def leaf(address: str, value: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    node: dict[str, Any] = {"FULL_PATH": address, "TYPE": "f", "ACCESS": 3, "DESCRIPTION": "a level"} | more
    return node if value is None else node | {"VALUE": value}


def tree(*leaves: dict[str, Any]) -> dict[str, Any]:
    contents = {leaf["FULL_PATH"].rpartition("/")[2]: leaf for leaf in leaves}
    return {"FULL_PATH": "/", "CONTENTS": {"duende": {"FULL_PATH": "/duende", "CONTENTS": contents}}}


def test_a_node_is_what_a_control_needs_and_keeps_its_place() -> None:
    mirror = Mirror()
    gain = leaf(
        "/duende/gain", [-6.0], RANGE=[{"MIN": -60.0, "MAX": 20.0}], UNIT=["gain.db"], TAGS=["parameter"], DEFAULT=[0.0]
    )
    branch = leaf("/duende/branch", ["a"], TYPE="s", RANGE=[{"VALS": ["", "a", "b"]}])
    mirror.tree(tree(gain, branch, leaf("/duende/go", TYPE="N", ACCESS=2)))
    assert list(mirror.nodes) == ["/duende/gain", "/duende/branch", "/duende/go"]
    assert mirror.nodes["/duende/gain"] == {
        "types": "f", "access": 3, "text": "a level", "range": [-60.0, 20.0], "unit": "dB", "tags": ["parameter"],
        "default": 0.0,
    }  # fmt: skip
    assert mirror.nodes["/duende/branch"]["vals"] == ["", "a", "b"]
    assert mirror.nodes["/duende/go"]["types"] == ""
    assert mirror.values == {"/duende/gain": [-6.0], "/duende/branch": ["a"]}


def test_what_lies_beside_a_parameter_is_left_out() -> None:
    mirror = Mirror()
    gain = leaf("/duende/gain", [0.0], CONTENTS={"normalized": leaf("/duende/gain/normalized", [0.5])})
    mirror.tree(tree(gain) | {"FULL_PATH": "/", "TYPE": "f"})
    assert list(mirror.nodes) == ["/duende/gain"]


def test_each_change_is_given_out_once_and_only_as_it_is_last() -> None:
    mirror = Mirror()
    mirror.tree(tree(leaf("/duende/a", [0.0]), leaf("/duende/b", [0.0])))
    mirror.heard("/duende/a", [0.25])
    mirror.heard("/duende/a", [0.3000001192])
    mirror.heard("/elsewhere", [1.0])
    assert mirror.take() == {"/duende/a": [0.3]}
    assert mirror.take() == {}
    assert mirror.values["/duende/a"] == [0.3]


def test_a_stream_outlives_a_new_tree_and_what_is_gone_does_not() -> None:
    mirror = Mirror()
    mirror.tree(tree(leaf("/duende/meter"), leaf("/duende/old", [1.0])))
    mirror.heard("/duende/meter", [-12.0])
    mirror.tree(tree(leaf("/duende/meter"), leaf("/duende/new", [2.0])))
    assert mirror.values == {"/duende/meter": [-12.0], "/duende/new": [2.0]}
    assert mirror.take() == {}


def test_spectra_are_rounded_to_what_is_seen_of_them() -> None:
    mirror = Mirror()
    mirror.tree(
        {"FULL_PATH": "/", "CONTENTS": {"input": leaf("/duende/spectrum/input"), "bands": leaf("/duende/bands")}}
    )
    mirror.heard("/duende/spectrum/input", [-60.123456, -120.0, -0.3])
    mirror.heard("/duende/bands", [31.23456] * 96)
    heard = mirror.take()
    assert heard["/duende/spectrum/input"] == [-60.0, -120.0, -0.25]
    assert heard["/duende/bands"] == [31.23456] * 96
    mirror.heard("/duende/spectrum/input", [math.nan, math.inf, "x"])
    assert mirror.take()["/duende/spectrum/input"] == [None, None, "x"]


def test_what_json_has_not_becomes_null() -> None:
    mirror = Mirror()
    mirror.tree(tree(leaf("/duende/a")))
    mirror.heard("/duende/a", [math.nan, math.inf, b"blob", None, 7, True, "text"])
    assert mirror.values["/duende/a"] == [None, None, None, None, 7, True, "text"]


def test_a_tree_without_end_is_cut() -> None:
    mirror = Mirror()
    mirror.tree(tree(*(leaf(f"/duende/n{place}") for place in range(MAX_NODES + 10))))
    assert len(mirror.nodes) == MAX_NODES
    deep: dict[str, Any] = leaf("/duende/deep")
    for _ in range(100_000):
        deep = {"FULL_PATH": "/x", "CONTENTS": {"x": deep}}
    mirror.tree(deep)
    assert mirror.nodes == {}


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["FULL_PATH", "CONTENTS", "TYPE", "RANGE", "UNIT", "VALUE", "TAGS", "DEFAULT", "MIN"])
            | st.text(),
            inner | st.sampled_from(["/duende/a", "f", "N", "parameter"]),
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(root=st.dictionaries(st.sampled_from(["FULL_PATH", "CONTENTS", "TYPE", "RANGE", "VALUE", "UNIT"]), JSON))
def test_any_json_is_borne(root: dict[str, Any]) -> None:
    Mirror().tree(root)
