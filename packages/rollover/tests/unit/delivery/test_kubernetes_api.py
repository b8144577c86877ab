"""Objects through the API server: lightkube against a stand-in that answers as the real one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from rigs import kubernetes_stand_in as stand_in
from rigs.kubernetes_stand_in import StandIn
from rollover.codec.kubernetes import ClusterObject, ObjectKind, ObjectRef
from rollover.delivery.kubernetes_api import ApiServer, open_cluster
from rollover.errors import AdapterError, Conflict, Denied, NotFound, Rejected, SpecError
from rollover.errors import Unreachable as NobodyAnswers
from rollover.fleet.secret import SecretBytes

SECRET = ObjectRef(ObjectKind.SECRET, "nats", "nats-tls")
CONFIG_MAP = ObjectRef(ObjectKind.CONFIG_MAP, "nats", "nats-ca")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[StandIn, ApiServer]]:
    """A stand-in and a client of it."""
    with stand_in.running(tmp_path) as (running, kubeconfig):
        server = open_cluster(kubeconfig=kubeconfig)
        yield running, server
        server.close()


def stored(ref: ObjectRef, **values: bytes) -> ClusterObject:
    """An object with these values."""
    return ClusterObject(ref=ref, data={key: SecretBytes(each) for key, each in values.items()})


@pytest.mark.parametrize("ref", [SECRET, CONFIG_MAP], ids=["secret", "configmap"])
def test_an_object_is_made_read_written_and_removed(
    cluster: tuple[StandIn, ApiServer], ref: ObjectRef
) -> None:
    """Values survive as bytes; what others put beside ours stays; removing twice is harmless."""
    running, server = cluster
    made = server.create(stored(ref, a=b"one", b=b"\xff\x00"))
    assert server.read(ref).data == made.data
    plural = "secrets" if ref is SECRET else "configmaps"
    running.put(plural, ref.name, metadata={"labels": {"team": "x"}, "finalizers": ["keep/me"]})
    before = server.read(ref)
    after = server.replace(msgspec.structs.replace(before, data={"a": SecretBytes(b"two")}))
    assert after.labels == {"team": "x"}
    assert after.version != before.version
    assert server.read(ref).data == {"a": SecretBytes(b"two")}
    assert running.objects["nats", plural, ref.name]["metadata"]["finalizers"] == ["keep/me"]
    assert running.managers == {"rollover"}
    server.delete(ref)
    server.delete(ref)
    with pytest.raises(NotFound, match="nats"):
        server.read(ref)


def test_a_write_over_what_somebody_else_wrote_is_a_conflict(
    cluster: tuple[StandIn, ApiServer],
) -> None:
    """`resourceVersion` must still be the one that was read."""
    running, server = cluster
    before = server.create(stored(SECRET, a=b"one"))
    running.put("secrets", SECRET.name, data={"a": "b3RoZXI="})
    with pytest.raises(Conflict):
        server.replace(before)
    with pytest.raises(Conflict):
        server.create(stored(SECRET, a=b"one"))


def test_objects_are_found_by_label_page_by_page(cluster: tuple[StandIn, ApiServer]) -> None:
    """More than a page of them, and none without the label."""
    running, server = cluster
    for number in range(25):
        running.put("secrets", f"s{number:02}", metadata={"labels": {"mine": str(number % 2)}})
    found = server.find(ObjectKind.SECRET, "nats", labels={"mine": "0"})
    assert [cluster_object.ref.name for cluster_object in found] == [
        f"s{number:02}" for number in range(0, 25, 2)
    ]


def test_answers_become_our_errors(cluster: tuple[StandIn, ApiServer]) -> None:
    """403 names the right that is missing, 422 what is wrong, both with a remedy."""
    running, server = cluster
    running.forbidden = {"POST"}
    with pytest.raises(Denied, match="forbidden") as denied:
        server.create(stored(SECRET, a=b"x"))
    assert "verbs" in denied.value.hint
    running.forbidden = set()
    wrong = msgspec.structs.replace(stored(SECRET, a=b"x"), type="kubernetes.io/tls")
    with pytest.raises(Rejected, match="Required value"):
        server.create(wrong)

    def fail(_method: str, _path: str) -> None:
        raise stand_in.Refusal(500, "etcdserver: request timed out")

    running.before = fail
    with pytest.raises(NobodyAnswers, match="etcdserver"):
        server.read(SECRET)


def test_a_wrong_token_is_denied(tmp_path: Path) -> None:
    """401 says to log in again, and the token is nowhere in the message."""
    with stand_in.running(tmp_path, token="wrong-token") as (_, kubeconfig):
        with pytest.raises(Denied) as caught:
            open_cluster(kubeconfig=kubeconfig).read(SECRET)
        assert "wrong-token" not in f"{caught.value}{caught.value.hint}"


def test_nobody_there_and_a_wrong_ca_are_told(tmp_path: Path) -> None:
    """A closed port and a certificate of another CA are errors with the address."""
    with stand_in.running(tmp_path) as (_, kubeconfig):
        other = tmp_path / "other"
        other.mkdir()
        with stand_in.running(other):
            pass
        (tmp_path / "api-ca.pem").write_bytes((other / "api-ca.pem").read_bytes())
        with pytest.raises(AdapterError, match=r"127\.0\.0\.1.*(?i:certificate)"):
            open_cluster(kubeconfig=kubeconfig).read(SECRET)
    with pytest.raises(NobodyAnswers):
        open_cluster(kubeconfig=kubeconfig).read(SECRET)


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "[]", "clusters: 1\ncontexts: []\n", "clusters: []\ncontexts: []\n", "\xff\x00",
     "clusters: []\ncontexts: [{name: a, context: {cluster: b}}]\ncurrent-context: a\n",
     "[" * 5000],
)  # fmt: skip
def test_a_kubeconfig_that_is_none_is_an_error_with_its_path(tmp_path: Path, text: str) -> None:
    """Never a trace."""
    path = tmp_path / "kubeconfig"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match="kubeconfig") as caught:
        open_cluster(kubeconfig=path)
    assert str(path) in str(caught.value)
    with pytest.raises(SpecError):
        open_cluster(kubeconfig=tmp_path / "missing")
