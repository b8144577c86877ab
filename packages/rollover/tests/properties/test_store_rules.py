"""The rules of flags hold after any sequence of changes, and both stores agree on each."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from rigs.examples_budget import examples
from rigs.stored import NOON, authority, leaf
from rollover.engine.ports import CredentialStore
from rollover.errors import RolloverError
from rollover.fleet.certificate import CertificateVersion, FlagChange, Flags
from rollover.fleet.names import Fingerprint
from rollover.store import credential_rules
from rollover.store.credentials import MemoryCredentials, open_credentials
from rollover.store.sealing import keys_from_file

FLAGS = st.builds(Flags, transitional=st.booleans(), signing=st.booleans())
VERSIONS = st.lists(st.tuples(FLAGS, st.booleans(), st.booleans()), max_size=5).map(
    lambda rows: tuple(
        CertificateVersion(
            name="/ca",
            number=number,
            chain=b"",
            fingerprint=Fingerprint("0" * 64),
            certificate_authority=is_authority,
            flags=flags,
            created_at=NOON,
            has_key=has_key,
        )
        for number, (flags, is_authority, has_key) in enumerate(rows, start=1)
    )
)


@given(VERSIONS)
def test_versions_are_refused_exactly_when_they_break_a_rule(
    versions: tuple[CertificateVersion, ...],
) -> None:
    """At most one transitional, at most one signing; what signs is a CA and has its key."""
    signing = [version for version in versions if version.flags.signing]
    obeys = (
        sum(version.flags.transitional for version in versions) <= 1
        and len(signing) <= 1
        and all(version.certificate_authority and version.has_key for version in signing)
    )

    assert (not list(credential_rules.versions_refusals(versions))) == obeys


@given(VERSIONS, st.lists(st.tuples(st.integers(1, 5), FLAGS), max_size=3))
def test_a_change_touches_only_the_versions_that_it_names(
    versions: tuple[CertificateVersion, ...], wanted: list[tuple[int, Flags]]
) -> None:
    """All others keep their flags, and nothing but flags changes."""
    changes = [FlagChange(number=n, expected=Flags(), wanted=flags) for n, flags in wanted]
    named = {change.number: change.wanted for change in changes}

    after = credential_rules.with_wanted_flags(versions, changes)

    assert [v.number for v in after] == [v.number for v in versions]
    assert [v.flags for v in after] == [named.get(v.number, v.flags) for v in versions]


@given(st.text(max_size=12))
def test_a_name_passes_exactly_when_it_is_a_path(name: str) -> None:
    """Every accepted name is its non-empty printable parts, each behind a slash."""
    parts = name.split("/")[1:]
    is_path = bool(parts) and all(parts) and name == "/" + "/".join(parts) and name.isprintable()

    assert (not list(credential_rules.name_refusals(name))) == is_path


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.booleans(), FLAGS),
        st.tuples(st.just("set"), st.integers(1, 4), FLAGS, FLAGS),
        st.tuples(st.just("forget"), st.integers(1, 4)),
    ),
    max_size=8,
)


@examples(25)
@given(STEPS)
def test_the_file_behaves_like_the_reference(steps: list[tuple[object, ...]]) -> None:
    """The same calls give the same answers, refusals word for word, and the same versions."""
    with TemporaryDirectory() as directory:
        keys = keys_from_file(Path(directory) / "master.key")
        with open_credentials(Path(directory) / "c.db", keys=keys) as stored:
            reference = MemoryCredentials()
            for step in steps:
                assert _tried(stored, step) == _tried(reference, step)
                assert stored.versions("/ca") == reference.versions("/ca")
                assert not list(credential_rules.versions_refusals(stored.versions("/ca")))


def _tried(credentials: CredentialStore, step: tuple[object, ...]) -> str:
    try:
        _take(credentials, step)
    except RolloverError as error:
        return str(error)
    return "done"


def _take(credentials: CredentialStore, step: tuple[object, ...]) -> None:
    match step:
        case ("add", bool(is_authority), Flags() as flags):
            pair = authority() if is_authority else leaf()
            credentials.add("/ca", pair.chain, key=pair.key, flags=flags, at=NOON)
        case ("set", int(number), Flags() as expected, Flags() as wanted):
            change = FlagChange(number=number, expected=expected, wanted=wanted)
            credentials.set_flags("/ca", (change,))
        case ("forget", int(number)):
            credentials.forget("/ca", number)
