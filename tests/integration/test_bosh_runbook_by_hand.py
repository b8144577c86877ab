"""Runbooks carried out by a shell, every block and every gate, with the bosh CLI or a stand-in."""

from __future__ import annotations

from pathlib import Path

import pytest

from rigs.bosh_by_hand import Block, Book
from rigs.bosh_lab import (
    NAMES,
    BoshLab,
    bosh_lab,
    eventually,
    every_agent_answers,
    in_a_hurry,
    pinging_of,
)
from rigs.bosh_rotating import (
    command,
    instance,
    key_pieces,
    leaks,
    machines,
    trusted_by_nats,
    variables,
)
from rollover.errors import ExitCode
from rollover_lab.bosh import expiry
from rollover_lab.bosh.lab import create_env_call
from rollover_lab.bosh.layout import CloudLayout


def written(lab: BoshLab, directory: Path, *options: str) -> Book:
    """Have the runbook of a lab written."""
    book = Book(directory / "book", directory / "home")
    ended = command(lab, "rotate", "--runbook", str(book.directory), *options)
    assert ended.code == ExitCode.DONE, ended.said
    return book


def trusted_by_agents(lab: BoshLab) -> list[int]:
    """Return how many CAs each agent trusts, by what it was told last."""
    places = CloudLayout(lab.layout.root)
    told = [places.vm(vm.vm_cid).agent.told() for vm in lab.cloud.vms()]
    return [agent_input.credentials.ca.count("BEGIN CERTIFICATE") for agent_input in told]


def stopped_by_one_that_hangs(lab: BoshLab, book: Book) -> None:
    """See that the gate names an agent that does not answer, and passes when it does again."""
    silent = instance(lab, "cf", "database")
    assert silent.agent_id is not None
    lab.cloud.fault(silent.agent_id, "hung")
    try:
        ended = book.gate("agents")
        assert (ended.code, ended.passed) == (1, []), ended
        assert f"  {silent.name}: unresponsive agent" in ended.errors
    finally:
        lab.cloud.fault(silent.agent_id, "none")
    assert book.gate("agents 120").code == 0


def refused(book: Book, *calls: str) -> None:
    """See that gates fail, and say why."""
    for call in calls:
        ended = book.gate(call)
        assert (ended.code, ended.passed) == (1, []), (call, ended)
        assert "FAIL: " in ended.errors, (call, ended)


def step(blocks: list[Block], number: int) -> list[Block]:
    """Return the commands of a step."""
    return [block for block in blocks if block.heading.startswith(f"### {number}.")]


@pytest.mark.xdist_group("bosh-runbook-rotates")
def test_a_runbook_rotates_by_hand_and_its_gates_hold(tmp_path: Path) -> None:
    """As it is written, with a detour; nothing of a key is in what people pass around."""
    spec = in_a_hurry(agents=3, deployments=2, max_in_flight=2, persistent=1, old_stemcell=1)
    with bosh_lab(tmp_path / "lab", spec) as lab, pinging_of(lab) as pings:
        before, manifest = variables(lab), lab.layout.manifest.read_bytes()
        vms, keys = machines(lab), key_pieces(lab.layout.credentials)
        book = written(lab, tmp_path)
        blocks = [block for block in book.blocks() if not block.detour]
        prepare, steps, rest = blocks[:2], blocks[2:-6], blocks[-6:]

        book.done(prepare[0])
        stopped_by_one_that_hangs(lab, book)
        refused(book, "resurrection on", "gone nats_ca", "deployed nothing.yml", "changed 2")
        book.done(prepare[1])

        for pair in step(steps, 1):
            book.done(pair)
        keys |= key_pieces(lab.layout.credentials)
        refused(book, "deployed", "bundle 1 add-new-ca.yml", "same /dev/null")
        assert trusted_by_nats(lab) == 2
        note, *deploys = step(steps, 2)
        book.done(note)
        refused(book, "changed 2")
        for deploy in deploys:
            book.done(deploy)
        assert trusted_by_agents(lab) == [2, 2, 2]

        withdrawing, _ = step(steps, 3)
        book.done(withdrawing)
        assert trusted_by_nats(lab) == 1
        back = book.run(book.detour("## Step 3").commands)
        assert back.code == 0, back
        assert trusted_by_nats(lab) == 2
        for number in (3, 4):
            for pair in step(steps, number):
                book.done(pair)

        private = next(lab.layout.root.glob("rotation-*"))
        assert private.stat().st_mode & 0o077 == 0
        for pair in rest:
            book.done(pair)
        assert not private.exists()
        every_agent_answers(lab, pings)
        assert lab.all_answer()
        assert trusted_by_nats(lab) == 1
        assert trusted_by_agents(lab) == [1, 1, 1]
        after = variables(lab)
        assert {name for name in after if after[name] != before.get(name)} == {*NAMES}
        assert after.keys() == before.keys()
        assert lab.layout.manifest.read_bytes() == manifest
        assert "Skipping deploy." in lab.create_env()
        again = command(lab, "plan", "--new")
        assert again.code == ExitCode.DONE, again.said
        made_anew = {name for name, cid in machines(lab).items() if cid != vms[name]}
        assert {name.split("/")[1] for name in made_anew} == {"legacy"}
        pieces = keys | key_pieces(lab.layout.credentials)
        kept = [path for path in book.directory.rglob("*") if path.is_file()]
        assert len(kept) > len(blocks) // 4
        assert not [path for path in kept if leaks(pieces, path.read_bytes())]


@pytest.mark.xdist_group("bosh-runbook-recovers")
def test_a_runbook_recovers_by_hand_from_a_ca_that_has_expired(tmp_path: Path) -> None:
    """Not without being asked for; persistent disks are kept, and everybody answers."""
    spec = in_a_hurry(agents=2, deployments=1, max_in_flight=2, persistent=1)
    with bosh_lab(tmp_path / "lab", spec) as lab:
        before, vms = variables(lab), machines(lab)
        (disk,) = (lab.layout.cloud / "disks").iterdir()
        (disk / "data").write_text("precious")
        expiry.expire(lab.layout, lab.cloud, request=create_env_call(lab.layout))

        book = written(lab, tmp_path, "--recover")
        assert "**This is not safe.**" in book.text
        assert str(instance(lab, "cf", "database").id) in book.text.partition("## For the ch")[0]
        blocks = book.blocks()
        assert len(blocks) > 1
        book.done(blocks[0])
        refused(book, "connected")
        for block in blocks[1:]:
            book.done(block)

        eventually(lab.all_answer)
        assert trusted_by_nats(lab) == 1
        assert trusted_by_agents(lab) == [1, 1]
        assert not set(machines(lab).values()) & set(vms.values())
        assert (disk / "data").read_text() == "precious"
        after = variables(lab)
        assert {name for name, value in after.items() if value != before[name]} == {*NAMES}
        assert "Skipping deploy." in lab.create_env()
        assert command(lab, "check").code == ExitCode.DONE
