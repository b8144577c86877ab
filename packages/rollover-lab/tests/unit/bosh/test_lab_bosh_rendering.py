"""The director's manifest of a lab, and what `create-env` renders of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bosh_interpolate import ManifestError, load_variables
from rigs.bosh_lab import add_new_ca, remove_old_ca
from rollover_lab.bosh import director_manifest, lab, rendering
from rollover_lab.bosh.create_env import CreateEnv, interpolated
from rollover_lab.bosh.director_manifest import DirectorManifest
from rollover_lab.bosh.lab import BoshLabSpec
from rollover_lab.bosh.layout import BoshLayout
from rollover_lab.bosh.shape import shape_of_numbers

NATS_SERVER = Path(sys.executable).parent / "nats-server"
NATS_VARIABLES = {
    "nats_ca",
    "nats_server_tls",
    "nats_clients_director_tls",
    "nats_clients_health_monitor_tls",
}


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> BoshLayout:
    """The inputs of a lab, without one that runs, and credentials up to the documented step 1."""
    layout = BoshLayout(tmp_path_factory.mktemp("lab"))
    spec = BoshLabSpec(shape=shape_of_numbers(agents=2, deployments=1))
    lab.write_inputs(spec, layout, lambda count: tuple(range(4001, 4001 + count)))
    for name, operations in (("add.yml", add_new_ca()), ("remove.yml", remove_old_ca())):
        (layout.root / name).write_text(json.dumps(operations))
    interpolated(_call(layout, "add.yml"))
    return layout


def _call(layout: BoshLayout, *ops_files: str) -> CreateEnv:
    return lab.create_env_call(layout, *(str(layout.root / name) for name in ops_files))


def _manifest(layout: BoshLayout, *ops_files: str) -> DirectorManifest:
    return director_manifest.read_director_manifest(
        interpolated(_call(layout, *ops_files)), path="bosh.yml"
    )


def _checked(layout: BoshLayout, manifest: DirectorManifest) -> subprocess.CompletedProcess[str]:
    """Render a manifest, and ask nats-server what it thinks of it."""
    files = rendering.render(manifest.group.properties, layout, director_id="d")
    rendering.write(files)
    return subprocess.run(
        (NATS_SERVER, "-t", "-c", layout.director_vm.nats_config),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("ops_files", [(), ("add.yml",), ("remove.yml",)])
def test_nats_takes_what_is_rendered_in_every_step(
    layout: BoshLayout, ops_files: tuple[str, ...]
) -> None:
    """The documented ops files apply unchanged, and nats-server accepts the configuration."""
    done = _checked(layout, _manifest(layout, *ops_files))
    assert done.returncode == 0, done.stderr


def test_step_one_adds_four_credentials_and_changes_none(layout: BoshLayout) -> None:
    """The vars store grows by the four new certificates of NATS (reference/bosh.md §1.6)."""
    store = load_variables(layout.credentials.read_bytes())
    assert {name for name in store if name.endswith("_2")} == {
        f"{name}_2" for name in NATS_VARIABLES
    }
    assert set(store) >= NATS_VARIABLES | {"director_ssl", "default_ca", "admin_password"}


def test_step_one_trusts_both_and_signs_with_the_new(layout: BoshLayout) -> None:
    """NATS keeps its certificate, everybody trusts both CAs, agents get theirs from the new."""
    before = _manifest(layout).group.properties.nats.tls
    after = _manifest(layout, "add.yml").group.properties.nats.tls
    assert after.server == before.server
    assert after.ca.startswith(before.ca)
    assert after.ca.count("BEGIN CERTIFICATE") == 2
    assert after.client_ca.certificate == after.ca.removeprefix(before.ca)
    assert after.director != before.director


def test_a_bundle_without_a_line_break_between_its_blocks_stops_nats(layout: BoshLayout) -> None:
    """What the manifest says is rendered unchecked: nats-server refuses it (H9)."""
    manifest = _manifest(layout, "add.yml")
    end = "-----END CERTIFICATE-----"
    joined = manifest.group.properties.nats.tls.ca.replace(f"{end}\n", end)
    tls = msgspec.structs.replace(manifest.group.properties.nats.tls, ca=joined)
    nats = msgspec.structs.replace(manifest.group.properties.nats, tls=tls)
    changed = msgspec.structs.replace(manifest.group.properties, nats=nats)
    group = msgspec.structs.replace(manifest.group, properties=changed)
    done = _checked(layout, msgspec.structs.replace(manifest, instance_groups=(group,)))
    assert done.returncode != 0
    assert "ca" in done.stderr.lower()


def test_everything_rendered_is_private(layout: BoshLayout) -> None:
    """Files with keys, and those beside them, are for their owner alone."""
    _checked(layout, _manifest(layout))
    paths = list(layout.director_vm.ephemeral.rglob("*"))
    assert len(paths) > 15
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o700}


def test_the_file_of_users_begins_with_director_and_health_monitor(layout: BoshLayout) -> None:
    """Before bosh-nats-sync has written it no agent may connect (reference/bosh.md §0.7)."""
    _checked(layout, _manifest(layout))
    users = json.loads(layout.director_vm.auth.read_bytes())["authorization"]["users"]
    assert [user["user"] for user in users] == [
        "C = US, O = Cloud Foundry, CN = default.director.bosh-internal",
        "C = US, O = Cloud Foundry, CN = default.hm.bosh-internal",
    ]


def test_a_property_that_is_missing_is_named(layout: BoshLayout) -> None:
    """A manifest without the NATS certificates is refused with the path of what is missing."""
    operations = [{"type": "remove", "path": "/instance_groups/name=bosh/properties/nats/tls"}]
    (layout.root / "broken.yml").write_text(json.dumps(operations))
    with pytest.raises(ManifestError, match=r"required field `tls`.*nats"):
        _manifest(layout, "broken.yml")


def test_a_variable_without_a_value_is_named_as_bosh_names_it(layout: BoshLayout) -> None:
    """`create-env` always refuses references without a variable."""
    request = msgspec.structs.replace(_call(layout), vars_files=())
    with pytest.raises(ManifestError) as caught:
        interpolated(request)
    report = caught.value.report()
    assert report.startswith("Parsing release set manifest '")
    assert "  Evaluating manifest:\n    - Expected to find variables:\n" in report
    assert "director_port" in report


def test_no_secret_shows_in_the_text_form_of_a_manifest(layout: BoshLayout) -> None:
    """A manifest that ends up in a log or a traceback tells no key and no password."""
    manifest = _manifest(layout)
    text = repr(manifest)
    assert "PRIVATE KEY" not in text
    assert manifest.group.properties.director.user_management.local.users[0].password not in text
