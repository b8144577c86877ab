"""Properties of bundles: what is built is stable, and text in any file never ends a program."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from rigs.examples_budget import examples
from rigs.pki_forge import CA, forge
from rollover.certificates import bundle_files
from rollover.certificates.bundle_build import build
from rollover.certificates.bundle_difference import compare
from rollover.certificates.bundle_sources import BundleCandidate, BundleCandidates
from rollover.codec import kubernetes
from rollover.codec.kubernetes import ClusterObject, ObjectKind, ObjectRef
from rollover.errors import SpecError
from rollover.fleet.secret import SecretBytes
from rollover.pki.pem import loaded_by_go, read_certificates

NOW = datetime(2026, 11, 22, tzinfo=UTC)
POOL = tuple(forge(f"CA {number}", CA, now=NOW).certificate for number in range(6))
CHOSEN = st.lists(st.sampled_from(POOL), min_size=1, max_size=12)


@given(CHOSEN, st.booleans())
@examples(40)
def test_a_bundle_is_its_own_source(chosen: list[object], annotate: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Built from what was built: the same bytes; Go loads the same; first places decide order."""
    offers = BundleCandidates(candidates=tuple(BundleCandidate(value, "x") for value in chosen))  # type: ignore[arg-type]  # see CHOSEN
    bundle = build(offers, now=NOW)
    assert list(bundle.certificates) == list(dict.fromkeys(chosen))
    content = bundle_files.render(bundle.certificates, annotate=annotate)
    found = read_certificates(content)
    assert found.certificates == bundle.certificates == loaded_by_go(content)
    assert found.remarks == ()
    assert bundle_files.render(found.certificates, annotate=annotate) == content


@given(CHOSEN, CHOSEN)
@examples(40)
def test_a_difference_leads_from_old_to_new(old: list[object], new: list[object]) -> None:
    """Old without what is removed, with what is added, is new."""
    change = compare(old, new)  # type: ignore[arg-type]  # see CHOSEN
    assert (set(old) - set(change.removed)) | set(change.added) == set(new)
    assert not set(change.added) & set(change.removed)


@given(st.dictionaries(st.from_regex(r"[-_a-z0-9]{1,8}", fullmatch=True), st.binary(max_size=40),
                       max_size=4), st.sampled_from(ObjectKind))  # fmt: skip
@examples(80)
def test_objects_survive_their_manifest(values: dict[str, bytes], kind: ObjectKind) -> None:
    """Any bytes, any key."""
    data = {key: SecretBytes(value) for key, value in values.items()}
    stored = ClusterObject(ref=ObjectRef(kind, "nats", "x"), data=data)
    (found,) = kubernetes.read_manifests(kubernetes.write_manifests((stored,)), place="m")
    assert dict(found.data) == data


@given(
    st.binary(max_size=300)
    | st.text(alphabet="akv: -[]{}&*!|>\n'\"#", max_size=200).map(str.encode)
)
@examples(150)
def test_no_text_ends_the_reader_of_manifests(text: bytes) -> None:
    """Either objects or a `SpecError`."""
    with suppress(SpecError):
        kubernetes.read_manifests(b"apiVersion: v1\nkind: Secret\n" + text, place="m")
    with suppress(SpecError):
        kubernetes.read_manifests(text, place="m")
