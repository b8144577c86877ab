"""The clean-up of a vars store: proven before, complete at every moment, done once."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bosh_interpolate import emit
from bosh_interpolate.values import Key, Tree
from rigs import bosh_director_files as files
from rigs.bosh_director_files import MANIFEST, VM, Director
from rollover.errors import VerificationError
from rollover.fleet.certificate import Certificate
from rollover.fleet.evidence import Evidence
from rollover.fleet.fleet import EndpointRef
from rollover.fleet.names import EndpointName
from rollover.platforms.bosh import ops_files, vars_store
from rollover.platforms.bosh.nats_properties import NatsPart
from rollover.platforms.bosh.ops_files import WantedTls
from rollover.platforms.bosh.vars_store import RotationFiles

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SUBJECT = EndpointRef(VM, EndpointName("agents"))


def rotated(
    folder: Path,
    *,
    manifest: str = MANIFEST,
    standby: tuple[Certificate, ...] = (),
    flags: str = "",
) -> tuple[Director, RotationFiles]:
    """A director whose rotation is done but for the clean-up."""
    new = files.generation(2)
    director = files.director(folder, manifest=manifest, flags=flags)
    place = RotationFiles(folder / "state")
    successors = {f"{name}_2": value for name, value in new.values().items()}
    place.note_added(successors)
    director.write_store({**director.stored(), **successors})
    for bundle in ((files.generation().ca, new.ca), (new.ca, *standby)):
        environment = director.environment()
        inputs = environment.inputs()
        plain = ops_files.plain_manifest(inputs, tls=inputs.evaluate().properties().tls)
        wanted = WantedTls(
            bundle=bundle, chains={part: (new.of[part].certificate,) for part in NatsPart}
        )
        found = ops_files.write_ops_file(plain, wanted, director.stored())
        assert found is not None
        director.deployed(place.put_ops_file(found))
    return director, place


def tidy(director: Director, place: RotationFiles) -> tuple[Evidence, ...]:
    """Clean up."""
    return tuple(
        vars_store.clean_up_vars_store(director.environment(), place, subject=SUBJECT, at=NOW)
    )


def plain_sha(director: Director) -> str:
    """What the operator's own line comes to."""
    return director.environment().inputs().evaluate().sha


def test_new_values_get_the_old_names_and_nothing_is_deployed_differently(tmp_path: Path) -> None:
    """The SHA in the state file is that of the plain manifest now."""
    director, place = rotated(tmp_path)
    others = {name: value for name, value in director.stored().items() if "nats_c" not in name}
    deployed = director.environment().state().current_manifest_sha
    assert plain_sha(director) != deployed
    told = tidy(director, place)
    assert all(evidence.holds for evidence in told)
    assert plain_sha(director) == deployed
    stored = director.stored()
    assert stored == {"nats_password": others["nats_password"], **files.generation(2).values()}
    assert director.store.stat().st_mode & 0o777 == 0o600
    assert place.ops_files() == ()
    assert place.added() == frozenset()


def test_a_backup_of_the_vars_store_is_kept(tmp_path: Path) -> None:
    """Private, and named to the operator."""
    director, place = rotated(tmp_path)
    before = director.store.read_bytes()
    told = tidy(director, place)
    [kept] = (place.directory / "backups").iterdir()
    assert kept.read_bytes() == before
    assert kept.stat().st_mode & 0o777 == 0o600
    assert str(kept) in told[0].observed


def test_done_again_it_does_nothing(tmp_path: Path) -> None:
    """And says nothing."""
    director, place = rotated(tmp_path)
    tidy(director, place)
    before = director.store.read_bytes()
    assert tidy(director, place) == ()
    assert director.store.read_bytes() == before


def test_a_crash_after_the_replacement_is_gone_on_from(tmp_path: Path) -> None:
    """The ops files are left then, and refer to variables that are gone."""
    director, place = rotated(tmp_path)
    steps = vars_store.clean_up_vars_store(director.environment(), place, subject=SUBJECT, at=NOW)
    next(steps)
    del steps
    after = director.stored()
    assert place.ops_files()
    assert tidy(director, place)
    assert director.stored() == after
    assert place.ops_files() == ()


def test_a_crash_before_the_replacement_leaves_everything(tmp_path: Path) -> None:
    """A copy of the file beside it is no harm."""
    director, place = rotated(tmp_path)
    (tmp_path / ".creds.yml.new").write_text("half")
    tidy(director, place)
    assert plain_sha(director) == director.environment().state().current_manifest_sha


def test_a_bundle_with_a_standby_survives_under_the_old_name(tmp_path: Path) -> None:
    """The manifest has one reference for it: its value becomes the whole bundle."""
    standby = files.generation(3).ca
    director, place = rotated(tmp_path, standby=(standby,))
    tidy(director, place)
    found = director.environment().inputs().evaluate().properties().tls
    assert found.bundle == (files.generation(2).ca, standby)
    assert plain_sha(director) == director.environment().state().current_manifest_sha


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST.replace("name: ((director_name))", "name: ((nats_ca.ca))"),
        MANIFEST.replace("ca: ((nats_server_tls.ca))", "ca: ((nats_ca.ca))((nats_ca.ca))"),
    ],
)
def test_a_clean_up_that_would_change_the_deployment_is_refused(
    tmp_path: Path, manifest: str
) -> None:
    """Something else uses the variable, or the bundle is put together by hand."""
    director, place = rotated(tmp_path, manifest=manifest)
    before = director.store.read_bytes()
    with pytest.raises(VerificationError, match="would differ"):
        tidy(director, place)
    assert director.store.read_bytes() == before
    assert place.ops_files()


def test_variables_from_elsewhere_cannot_be_cleaned_up(tmp_path: Path) -> None:
    """What `-l` gives counts before the vars store, whatever is written there."""
    given: dict[Key, Tree] = {"nats_ca": files.generation().value(NatsPart.CLIENT_CA)}
    (tmp_path / "nats.yml").write_text(emit(given))
    director, place = rotated(tmp_path, flags="-l nats.yml")
    before = director.store.read_bytes()
    with pytest.raises(VerificationError, match="would differ"):
        tidy(director, place)
    assert director.store.read_bytes() == before


def test_an_unknown_deployment_is_not_cleaned_up(tmp_path: Path) -> None:
    """Nobody could prove anything."""
    director, place = rotated(tmp_path)
    director.record("0" * 128)
    before = director.store.read_bytes()
    with pytest.raises(VerificationError, match="none that is known"):
        tidy(director, place)
    assert director.store.read_bytes() == before


def test_after_a_rollback_only_what_was_added_goes(tmp_path: Path) -> None:
    """The operator's own values are as they were; what others added stays."""
    director, place = rotated(tmp_path)
    director.deployed()
    director.write_store(
        {**director.stored(), "nats_ca_9": files.generation(3).values()["nats_ca"]}
    )
    tidy(director, place)
    assert director.stored() == {
        "nats_password": "secret-of-nats",
        "nats_ca_9": files.generation(3).values()["nats_ca"],
        **files.generation().values(),
    }
