"""The ops files of BOSH's procedure for a NATS CA, applied to a director's manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from bosh_interpolate import ManifestError, MemoryStore, interpolate, load, read_ops_file
from bosh_interpolate.values import Tree
from bosh_interpolate.variables import Definition

TLS = "/instance_groups/name=bosh/properties/nats/tls"
NAMES = (
    "nats_ca",
    "nats_server_tls",
    "nats_clients_director_tls",
    "nats_clients_health_monitor_tls",
)
NEW = tuple(f"{name}_2" for name in NAMES)


def made(definition: Definition, _by_name: object) -> Tree:
    """Make a value that tells which variable and which field it is."""
    if definition.type == "password":
        return f"{definition.name} secret"
    return {part: f"{definition.name} {part}\n" for part in ("ca", "certificate", "private_key")}


def pair(name: str) -> dict[str, str]:
    """Return certificate and key of a variable, as properties refer to them."""
    return {part: f"(({name}.{part}))" for part in ("certificate", "private_key")}


def definition(name: str, **options: object) -> dict[str, object]:
    """Return the definition of a certificate."""
    return {"name": name, "type": "certificate", "options": options}


def manifest() -> bytes:
    """Return what matters of a director's manifest."""
    tls = {
        "ca": "((nats_server_tls.ca))",
        "client_ca": pair("nats_ca"),
        "server": pair("nats_server_tls"),
        "director": pair("nats_clients_director_tls"),
        "health_monitor": pair("nats_clients_health_monitor_tls"),
    }
    others = [{"name": f"other_{number}", "type": "password"} for number in range(13)]
    return json.dumps(
        {
            "name": "bosh",
            "instance_groups": [{"name": "bosh", "properties": {"nats": {"tls": tls}}}],
            "variables": [
                *others,
                definition(NAMES[0], is_ca=True),
                *(definition(name, ca=NAMES[0]) for name in NAMES[1:]),
            ],
        }
    ).encode()


def replace(path: str, value: object) -> dict[str, object]:
    """Return an operation."""
    return {"type": "replace", "path": path, "value": value}


def new_clients() -> Iterator[dict[str, object]]:
    """Return what steps 1 and 3 have in common: the new signer and the new client certificates."""
    yield replace(f"{TLS}/client_ca?", pair(NEW[0]))
    yield replace(f"{TLS}/director?", pair(NEW[2]))
    yield replace(f"{TLS}/health_monitor?", pair(NEW[3]))


def add_new_ca() -> list[dict[str, object]]:
    """Return the operations of step 1."""
    definitions = [
        definition(NEW[0], is_ca=True),
        *(definition(name, ca=NEW[0]) for name in NEW[1:]),
    ]
    return [
        replace(f"{TLS}/ca?", "((nats_server_tls.ca))((nats_server_tls_2.ca))"),
        *new_clients(),
        *(replace(f"/variables/name={item['name']}?", item) for item in definitions),
    ]


def remove_old_ca() -> list[dict[str, object]]:
    """Return the operations of step 3."""
    return [
        replace(f"{TLS}/ca?", "((nats_server_tls_2.ca))"),
        replace(f"{TLS}/server?", pair(NEW[1])),
        *new_clients(),
    ]


def clean_up() -> list[dict[str, object]]:
    """Return the operations of step 5, on the vars store itself."""
    taken: list[dict[str, object]] = [
        replace(f"/{old}", f"(({new}))") for old, new in zip(NAMES, NEW, strict=True)
    ]
    return taken + [{"type": "remove", "path": f"/{new}"} for new in NEW]


def run(store: MemoryStore, *changes: list[dict[str, object]]) -> str:
    """Interpolate the manifest, refusing what is missing as `create-env` does."""
    found = [
        one
        for change in changes
        for one in read_ops_file(json.dumps(change).encode(), name="o.yml")
    ]
    return interpolate(manifest(), operations=found, store=store, make=made, all_found=True)


def properties(text: str) -> dict[str, Tree]:
    """Return the TLS properties of NATS in a manifest."""
    found = load(text.encode())
    for step in ("instance_groups", 0, "properties", "nats", "tls"):
        found = found[step]  # type: ignore[index]  # a known document
    assert isinstance(found, dict)
    return {str(key): value for key, value in found.items()}


def cleaned(store: MemoryStore) -> str:
    """Return the store after step 5."""
    text = interpolate(b"((all))", variables={"all": dict(store.variables())})  # type: ignore[dict-item]
    found = read_ops_file(json.dumps(clean_up()).encode(), name="c.yml")
    return interpolate(text.encode(), operations=found, variables=store.variables())


def test_the_five_steps_do_what_the_documentation_says() -> None:
    """Step 1 trusts both and signs with the new; step 3 drops the old; step 5 changes nothing."""
    store = MemoryStore()
    before = properties(run(store))
    assert len(store.variables()) == 17

    first = properties(run(store, add_new_ca()))
    assert sorted(set(store.variables())) == sorted(
        [*(f"other_{number}" for number in range(13)), *NAMES, *NEW]
    )
    assert first["ca"] == "nats_server_tls ca\nnats_server_tls_2 ca\n"
    assert first["server"] == before["server"]
    assert first["client_ca"] == {
        "certificate": "nats_ca_2 certificate\n",
        "private_key": "nats_ca_2 private_key\n",
    }

    known = dict(store.variables())
    third_text = run(store, remove_old_ca())
    third = properties(third_text)
    assert dict(store.variables()) == known
    assert third["ca"] == "nats_server_tls_2 ca\n"
    assert third["server"] != before["server"]
    assert {name: third[name] for name in ("client_ca", "director", "health_monitor")} == {
        name: first[name] for name in ("client_ca", "director", "health_monitor")
    }

    after = load(cleaned(store).encode())
    assert isinstance(after, dict)
    end = MemoryStore({str(name): value for name, value in after.items()})
    assert len(end.variables()) == 17
    assert run(end) == third_text


def test_step_5_twice_fails_and_changes_nothing() -> None:
    """The second time there is nothing to take over."""
    store = MemoryStore()
    run(store, add_new_ca())
    once = load(cleaned(store).encode())
    assert isinstance(once, dict)
    again = MemoryStore({str(name): value for name, value in once.items()})
    with pytest.raises(ManifestError, match="Expected to find a map key 'nats_ca_2'"):
        cleaned(again)


def test_step_3_before_step_1_is_refused_where_everything_must_be_found() -> None:
    """The ops file defines no variables: what step 1 makes is missing."""
    with pytest.raises(ManifestError) as caught:
        run(MemoryStore(), remove_old_ca())
    listed = "".join(f"\n    - {name}" for name in sorted(NEW))
    assert caught.value.report() == f"- Expected to find variables:{listed}"
