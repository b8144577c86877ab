"""Manifests of Secrets and ConfigMaps: what is written is read back, what is wrong has a place."""

from __future__ import annotations

import base64

import pytest

from rollover.codec import kubernetes
from rollover.codec.kubernetes import MOST_BYTES, ClusterObject, ObjectKind, ObjectRef
from rollover.errors import SpecError
from rollover.fleet.secret import SecretBytes

SECRET = ObjectRef(ObjectKind.SECRET, "nats", "nats-tls")
CONFIG_MAP = ObjectRef(ObjectKind.CONFIG_MAP, "nats", "nats-ca")


def stored(ref: ObjectRef = CONFIG_MAP, **data: bytes) -> ClusterObject:
    """An object with these values."""
    named = {key.replace("_", "."): SecretBytes(value) for key, value in data.items()}
    return ClusterObject(ref=ref, data=named, labels={"b": "2", "a": "1"})


@pytest.mark.parametrize("ref", [SECRET, CONFIG_MAP], ids=["secret", "configmap"])
def test_what_is_written_is_read_back(ref: ObjectRef) -> None:
    """Names, labels and values survive, binary ones too, several documents in their order."""
    objects = (stored(ref, ca_crt=b"one\n\ntwo\n", blob=b"\xff\x00"), stored(ref, x=b""))
    found = kubernetes.read_manifests(kubernetes.write_manifests(objects), place="m.yaml")
    assert [
        (cluster_object.ref, dict(cluster_object.data), cluster_object.labels)
        for cluster_object in found
    ] == [
        (cluster_object.ref, dict(cluster_object.data), cluster_object.labels)
        for cluster_object in objects
    ]
    assert kubernetes.write_manifests(objects) == kubernetes.write_manifests(found)


def test_lists_and_other_objects_are_followed_and_passed_over() -> None:
    """`kubectl get -o yaml` gives a List; a Deployment beside it says nothing to us."""
    text = b"""\
apiVersion: v1
kind: List
items:
  - {apiVersion: apps/v1, kind: Deployment, metadata: {name: x}}
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {ca.crt: A}}
---
# nothing
---
{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "b"}, "stringData": {"k": "B"}}
"""
    found = kubernetes.read_manifests(text, place="m.yaml")
    assert [
        (cluster_object.ref.name, {k: v.reveal() for k, v in cluster_object.data.items()})
        for cluster_object in found
    ] == [
        ("a", {"ca.crt": b"A"}),
        ("b", {"k": b"B"}),
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("kind: Secret\nmetadata: {name: a}\ndata:\n  ca.crt: '%%'\n", "m:4:3: data.ca.crt"),
        ("kind: Secret\nmetadata: {}\n", "m:2:1: metadata"),
        ("kind: Secret\nmetadata: {name: a}\ndata: [1]\n", "m:3:1: data"),
        ("a: 1\n---\nkind: List\nitems: 3\n", "m:4:1: items"),
        ("- 1\n", "m:1:1"),
        ("kind: Secret\nmetadata: {name: a}\ndata: {k: 1}\n", "m:3:8: data.k"),
        ("a: " + "[" * 200 + "]" * 200, "m:1:"),
        ("a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n"
            for n in range(8)), "m:"),
    ],
    ids=["base64", "name", "data", "items", "list", "number", "deep", "bomb"],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(text: str, place: str) -> None:
    """File, line, column and field; never a trace."""
    with pytest.raises(SpecError) as caught:
        kubernetes.read_manifests(text.encode(), place="m")
    assert str(caught.value).startswith(place)
    assert caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        stored(big=b"x" * (MOST_BYTES + 1)),
        stored(ref=CONFIG_MAP._replace(name="Upper")),
        stored(ref=CONFIG_MAP._replace(name="a" * 254)),
        stored(ref=CONFIG_MAP._replace(namespace="a.b")),
        ClusterObject(ref=CONFIG_MAP, data={"../x": SecretBytes(b"")}),
    ],
    ids=["size", "name", "long", "namespace", "key"],
)
def test_what_the_api_server_would_refuse_is_refused_before(wrong: ClusterObject) -> None:
    """More than 1 MiB, and names that are none."""
    with pytest.raises(SpecError):
        kubernetes.write_manifests((wrong,))


def test_exactly_one_mebibyte_is_taken() -> None:
    """The limit itself is allowed, as in the API server."""
    assert kubernetes.write_manifests((stored(big=b"x" * MOST_BYTES),))


def test_no_value_shows_itself() -> None:
    """The repr of an object names its keys only."""
    whole = ClusterObject(
        ref=SECRET,
        data={"tls.key": SecretBytes(b"very secret")},
        annotations={"last-applied": base64.b64encode(b"very secret").decode()},
    )
    assert "secret" not in repr(whole).replace("Secret", "")
    assert "dmVye" not in repr(whole)
