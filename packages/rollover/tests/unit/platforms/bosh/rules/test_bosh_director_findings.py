"""What is found at a director VM's files before a rotation."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from bosh_interpolate.values import Key, Tree
from rigs import bosh_director_files as files
from rigs.bosh_director_files import MANIFEST, Director
from rollover.engine.ports import Moment
from rollover.platforms.bosh import director_vm_observer
from rollover.platforms.bosh.director_vm_observer import DirectorVmObservation
from rollover.platforms.bosh.nats_port import ObservedNats
from rollover.platforms.bosh.nats_properties import NatsPart
from rollover.platforms.bosh.rules import agents
from rollover.platforms.bosh.rules import director as rules_director
from rollover.platforms.bosh.vars_store import RotationFiles
from rollover.rules.rule import Finding

NOW = datetime.now(UTC)


def unseen(director: Director, place: RotationFiles) -> DirectorVmObservation:
    """Observe a director of which only the files are there, and whose NATS is not asked."""
    environment = director.environment()
    inputs, shown = environment.inputs(), ObservedNats(())
    candidates = environment.candidates(place.ops_files(), inputs)
    seen = director_vm_observer.DirectorEvidence(shown, (), NOW)
    return DirectorVmObservation(
        inputs, shown, director_vm_observer.conclude_deployed(candidates, environment.state(), seen)
    )


def found(director: Director, moment: Moment = Moment.BEFORE) -> tuple[Finding, ...]:
    """Ask for findings."""
    place = RotationFiles(director.folder / "state")
    return tuple(
        rules_director.findings(
            moment,
            environment=director.environment(),
            workplace=place,
            observe=lambda: unseen(director, place),
            at=NOW,
        )
    )


def ids(director: Director, moment: Moment = Moment.BEFORE) -> set[str]:
    """The rules that found something."""
    return {finding.rule for finding in found(director, moment)}


def test_a_director_in_order_has_no_findings(tmp_path: Path) -> None:
    """At no moment."""
    director = files.director(tmp_path)
    for moment in Moment:
        assert found(director, moment) == ()


def test_every_rule_is_told_once() -> None:
    """No id means two things."""
    rules = [rule.id for rule in (*rules_director.RULES, *agents.RULES)]
    assert len(rules) == len(set(rules))
    assert all(rule.startswith("bosh-") for rule in rules)


def changed(director: Director, name: str, change: Callable[[dict[str, str]], object]) -> None:
    """Change a variable in the vars store, and deploy that."""
    stored = director.stored()
    value = stored[name]
    assert isinstance(value, dict)
    texts = {str(key): str(each) for key, each in value.items()}
    change(texts)
    copied: dict[Key, Tree] = {}
    copied.update(texts)
    director.write_store({**stored, name: copied})
    director.deployed()


def test_a_manifest_that_changed_since_is_pending(tmp_path: Path) -> None:
    """The next `create-env` would deploy that too."""
    director = files.director(tmp_path)
    director.manifest.write_text(MANIFEST.replace("instances: 1", "instances: 1\n  lifecycle: x"))
    for moment in (Moment.CHECK, Moment.BEFORE, Moment.BETWEEN):
        assert "bosh-pending-changes" in ids(director, moment)


def test_a_create_env_that_did_not_end_well_is_told(tmp_path: Path) -> None:
    """With the line that brings the director VM up."""
    director = files.director(tmp_path)
    director.record("")
    [finding] = [item for item in found(director) if item.rule == "bosh-create-env-unfinished"]
    assert "bosh create-env bosh.yml" in finding.remedy


def test_a_manifest_that_lacks_something_is_told(tmp_path: Path) -> None:
    """And nothing else is, for nothing else can be."""
    director = files.director(tmp_path)
    director.write_store({})
    assert ids(director) == {"bosh-manifest-incomplete"}


def test_a_vars_store_that_others_read_is_told(tmp_path: Path) -> None:
    """The CLI makes it so (H8)."""
    director = files.director(tmp_path)
    director.store.chmod(0o644)
    assert ids(director) == {"bosh-vars-store-open"}


def test_a_leftover_ops_file_is_told(tmp_path: Path) -> None:
    """Whatever it is called (H7)."""
    (tmp_path / "old.yml").write_text(
        "- {type: replace, path: /instance_groups/name=bosh/properties/nats/tls/ca, "
        "value: ((nats_ca.ca))}\n"
    )
    director = files.director(tmp_path, flags="-o old.yml")
    assert ids(director) == {"bosh-leftover-ops-file"}


def test_values_without_a_final_newline_are_told(tmp_path: Path) -> None:
    """The documented ops file would join them (H9)."""
    director = files.director(tmp_path)
    changed(director, "nats_server_tls", lambda one: one.update(ca=one["ca"].rstrip("\n")))
    assert ids(director) == {"bosh-pem-without-newline"}


def test_a_bundle_joined_on_one_line_is_told(tmp_path: Path) -> None:
    """Nothing starts with it (H9)."""
    second = files.generation(2).values()["nats_ca"]
    assert isinstance(second, dict)
    director = files.director(tmp_path)
    changed(
        director,
        "nats_server_tls",
        lambda one: one.update(ca=one["ca"].rstrip("\n") + str(second["ca"])),
    )
    assert "bosh-bundle-joined" in ids(director)


def test_the_younger_ca_first_is_told(tmp_path: Path) -> None:
    """Others read the first one only (H12)."""
    second = files.generation(2).values()["nats_ca"]
    assert isinstance(second, dict)
    director = files.director(tmp_path)
    changed(director, "nats_server_tls", lambda one: one.update(ca=str(second["ca"]) + one["ca"]))
    assert "bosh-bundle-order" in ids(director)


def test_a_signer_that_nobody_trusts_is_told(tmp_path: Path) -> None:
    """Every new VM would be cut off."""
    director = files.director(tmp_path)
    second = files.generation(2).values()
    director.write_store({**director.stored(), "nats_ca": second["nats_ca"]})
    director.deployed()
    assert "bosh-signer-untrusted" in ids(director)


@pytest.mark.parametrize("part", list(NatsPart))
def test_a_key_of_another_certificate_is_told(tmp_path: Path, part: NatsPart) -> None:
    """Nobody checks it before it is stored."""
    director = files.director(tmp_path)
    other = files.generation(2).values()[files.NAMES[part]]
    assert isinstance(other, dict)
    changed(
        director, files.NAMES[part], lambda one: one.update(private_key=str(other["private_key"]))
    )
    [finding] = found(director)
    assert (finding.rule, finding.subject) == ("bosh-key-mismatch", f"nats.tls.{part}")


def test_what_a_definition_does_not_say_is_told(tmp_path: Path) -> None:
    """It would be lost when it is made anew by hand (H10)."""
    present = files.generation(
        12, names=("127.0.0.1", "nats.example.com"), lifetime=timedelta(days=700)
    )
    director = files.director(tmp_path, values={"nats_password": "x", **present.values()})
    by_subject = {finding.subject: finding for finding in found(director)}
    assert {value.rule for value in by_subject.values()} == {"bosh-options-lost"}
    assert "alternative_names, duration" in by_subject["nats_server_tls"].message


def test_certificates_that_the_directors_list_leaves_out_are_told(tmp_path: Path) -> None:
    """The server's and the health monitor's are not on it (H11, H12)."""
    present = files.generation(13, begins=NOW.replace(microsecond=0) - timedelta(days=350))
    director = files.director(tmp_path, values={"nats_password": "x", **present.values()})
    subjects = {
        finding.subject for finding in found(director) if finding.rule == "bosh-expiry-unseen"
    }
    assert subjects == {"nats.tls.server", "nats.tls.health_monitor"}


def test_variables_from_elsewhere_are_told(tmp_path: Path) -> None:
    """The clean-up could not put new values there."""
    director = files.director(tmp_path, flags="--vars-env NATS")
    (tmp_path / "given.yml").write_text(director.store.read_text())
    director.line.write_text("bosh create-env bosh.yml --state state.json -l vars.yml -l given.yml")
    assert ids(director) == {"bosh-variables-elsewhere"}
    director.line.write_text(
        "bosh create-env bosh.yml --state state.json -l vars.yml -l given.yml "
        "--vars-store creds.yml"
    )
    subjects = {finding.subject for finding in found(director)}
    assert subjects == {f"nats.tls.{part}" for part in NatsPart}


def test_successors_that_nothing_uses_are_told(tmp_path: Path) -> None:
    """An ops file that is used once more would bring them back (H7)."""
    director = files.director(tmp_path)
    extra: dict[str, Tree] = {"nats_ca_2": files.generation(2).values()["nats_ca"]}
    director.write_store({**director.stored(), **extra})
    [finding] = found(director)
    assert finding.rule == "bosh-clean-up-left"
    assert "`nats_ca_2`" in finding.message
    assert found(director, Moment.BETWEEN) == ()


def test_findings_hold_no_secret(tmp_path: Path) -> None:
    """Not even those about keys."""
    director = files.director(tmp_path)
    changed(director, "nats_ca", lambda one: one.update(private_key="secret garbage"))
    assert "secret garbage" not in repr(found(director))
