"""The operator's own `create-env` line, as a shell and the bosh CLI would take it."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rigs.examples_budget import examples
from rollover.errors import SpecError
from rollover.platforms.bosh import command_line
from rollover.platforms.bosh.command_line import CreateEnvLine

HOME = {"HOME": "/srv/op", "IAAS": "gcp"}
SET_TLS = """\
- type: replace
  path: /instance_groups/name=bosh/properties/nats/tls/ca?
  value: ((nats_server_tls_2.ca))
"""
SET_DURATION = """\
- type: replace
  path: /variables/name=nats_ca/options/duration?
  value: 730
"""
SET_PROPERTIES = """\
- type: replace
  path: /instance_groups/name=bosh/properties
  value: {nats: {tls: {ca: x}}}
"""
SET_NATS = "- {type: replace, path: /instance_groups/name=bosh/properties/nats, value: {tls: {}}}\n"
REMOVE_TLS = "- {type: remove, path: /instance_groups/name=bosh/properties/nats/tls/ca}\n"
TEST_TLS = "- {type: test, path: /instance_groups/name=bosh/properties/nats/tls/ca, value: x}\n"


def read(folder: Path, text: str) -> CreateEnvLine:
    """Read a line from a file."""
    path = folder / "create-env.sh"
    path.write_text(text)
    return command_line.read_command_line(path, environment=HOME)


def test_the_line_of_the_documentation_is_understood(tmp_path: Path) -> None:
    """Continuations, a tilde, variables, every form of a flag, comments and settings around it."""
    command = read(
        tmp_path,
        """\
#!/usr/bin/env bash
# how we deploy the director
set -euo pipefail
export BOSH_LOG_LEVEL=none
WORKSPACE=~/workspace

bosh -n create-env $WORKSPACE/bosh-deployment/bosh.yml \\
  --state ./state.json \\
  -o "$WORKSPACE/bosh-deployment/${IAAS}/cpi.yml" \\
  -o=uaa.yml -ocredhub.yml --ops-file=/abs/jumpbox.yml --ops-file last.yml \\
  --vars-store ./creds.yml \\
  -v internal_ip=10.0.0.6 -vname='a b' --var "quoted=\\"x\\"" \\
  --var-file key=~/key.pem --var-file=cert=c.pem \\
  -l vars.yml --vars-env BOSH_VAR   # and that is it
""",
    )
    assert command.manifest == Path("/srv/op/workspace/bosh-deployment/bosh.yml")
    assert [str(ops_file) for ops_file in command.ops_files] == [
        "/srv/op/workspace/bosh-deployment/gcp/cpi.yml",
        f"{tmp_path}/uaa.yml",
        f"{tmp_path}/credhub.yml",
        "/abs/jumpbox.yml",
        f"{tmp_path}/last.yml",
    ]
    assert command.assignments == ("internal_ip=10.0.0.6", "name=a b", 'quoted="x"')
    assert command.contents == ("key=/srv/op/key.pem", f"cert={tmp_path}/c.pem")
    assert command.vars_files == (tmp_path / "vars.yml",)
    assert command.prefixes == ("BOSH_VAR",)
    assert command.vars_store == tmp_path / "creds.yml"
    assert command.state == tmp_path / "state.json"
    assert command.environment["BOSH_LOG_LEVEL"] == "none"
    assert "WORKSPACE" not in command.environment
    assert command.place == f"{tmp_path}/create-env.sh:7"


def test_any_program_that_ends_in_the_verb_is_run(tmp_path: Path) -> None:
    """A wrapper, a lab, an assignment in front of it: the words stay as they are."""
    command = read(tmp_path, 'BOSH_TTY=1 exec rollover lab create-env bosh.yml "$@"\n')
    assert command.words == ("rollover", "lab", "create-env", "bosh.yml")
    assert command.environment["BOSH_TTY"] == "1"
    assert command.vars_store is None


@pytest.mark.parametrize(
    "line",
    [
        'cd "$(dirname "$0")"',
        "cd $(dirname $0)",
        'cd "${0%/*}"',
        'cd -- "$(dirname -- "${BASH_SOURCE[0]}")"',
    ],
)
def test_scripts_that_go_to_their_own_directory_stay_there(tmp_path: Path, line: str) -> None:
    """The one substitution whose result is known."""
    command = read(tmp_path, f"{line}\nbosh create-env bosh.yml\n")
    assert command.directory == tmp_path


def test_the_directory_is_changed_as_the_script_says(tmp_path: Path) -> None:
    """Relative paths begin there."""
    command = read(tmp_path, "cd director\nbosh create-env bosh.yml\n")
    assert command.manifest == tmp_path / "director/bosh.yml"


def test_the_state_file_is_beside_the_manifest_by_default(tmp_path: Path) -> None:
    """As the CLI has it: `bosh.yml` keeps `bosh-state.json`."""
    command = read(tmp_path, "bosh create-env envs/bosh.yml")
    assert command.state == tmp_path / "envs/bosh-state.json"


def test_our_ops_file_comes_last(tmp_path: Path) -> None:
    """Behind all others, but before the end of flags."""
    command = read(tmp_path, "bosh create-env -o a.yml -v x=1 -- bosh.yml\n")
    assert command.with_ops_file(Path("/s/add.yml")) == (
        *("bosh", "create-env", "-o", "a.yml", "-v", "x=1", "-o", "/s/add.yml", "--", "bosh.yml"),
    )
    assert command.with_ops_file(None) == command.words
    assert command.manifest == tmp_path / "bosh.yml"


def test_values_of_variables_are_never_shown(tmp_path: Path) -> None:
    """Neither in a message nor in a repr."""
    command = read(
        tmp_path, "bosh create-env bosh.yml -v admin_password=hush -vkey=hush --var=z=hush\n"
    )
    assert "hush" not in command.shell_text(Path("/x.yml")) + repr(command)
    assert command.shell_text() == (
        'bosh create-env bosh.yml --var "admin_password=${VAR_admin_password:?}" '
        '--var "key=${VAR_key:?}" --var "z=${VAR_z:?}"'
    )
    assert command.shell_text(Path("/x.yml")).endswith("-o /x.yml")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("bosh create-env $(pwd)/bosh.yml", "command substitution"),
        ("bosh create-env `pwd`/bosh.yml", "command substitution"),
        ('bosh create-env "$(pwd)/bosh.yml"', "command substitution"),
        ("bosh create-env bosh.yml | tee log", "a pipe"),
        ("bosh create-env bosh.yml; echo done", "second command"),
        ("cd x && bosh create-env bosh.yml", "second command"),
        ("bosh create-env bosh.yml > log", "redirection"),
        ("bosh create-env bosh.yml -o ops/*.yml", "file name pattern"),
        ("bosh create-env {a,b}.yml", "brace expansion"),
        ("bosh create-env ${DIR:-x}/bosh.yml", "needs a real shell"),
        ("bosh create-env $1", "needs a real shell"),
        ("bosh create-env ~other/bosh.yml", "needs a real shell"),
        ("bosh create-env $UNSET/bosh.yml", "`$UNSET` is not set"),
        ("X='a b'\nbosh create-env $X", "would split"),
        ("bosh create-env 'bosh.yml", "does not end"),
        ('bosh create-env "bosh.yml', "does not end"),
        ("bosh create-env a.yml\nbosh create-env b.yml", "more than one"),
        ("echo begin\nbosh create-env a.yml", "another command"),
        ("bosh deploy a.yml", "another command"),
        ("# nothing\n", "no `create-env`"),
        ("bosh create-env", "one manifest"),
        ("bosh create-env a.yml b.yml", "one manifest"),
        ("bosh create-env -", "stdin"),
        ("bosh create-env a.yml --what x", "`--what`"),
        ("bosh create-env a.yml -o", "no value"),
    ],
)
def test_what_would_take_a_shell_is_refused_with_its_place(
    tmp_path: Path, text: str, problem: str
) -> None:
    """Nothing is guessed, and nothing is run to find out."""
    with pytest.raises(SpecError) as caught:
        read(tmp_path, text)
    assert problem in caught.value.message
    assert str(tmp_path / "create-env.sh") in caught.value.message
    assert caught.value.hint


def test_the_line_of_a_problem_is_told(tmp_path: Path) -> None:
    """Also behind continuations."""
    with pytest.raises(SpecError, match=r"create-env\.sh:4: "):
        read(tmp_path, "# one\nbosh create-env \\\n  bosh.yml \\\n  -o $(x)\n")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With what to put there."""
    with pytest.raises(SpecError, match="cannot be read") as caught:
        command_line.read_command_line(tmp_path / "none.sh", environment={})
    assert "director.create_env" in caught.value.hint


@pytest.mark.parametrize(
    ("content", "left_over"),
    [
        (SET_TLS, True),
        (SET_PROPERTIES, True),
        (SET_NATS, True),
        (REMOVE_TLS, True),
        (SET_DURATION, False),
        (TEST_TLS, False),
        ("", False),
    ],
)
def test_ops_files_of_an_earlier_rotation_are_refused(
    tmp_path: Path, content: str, *, left_over: bool
) -> None:
    """Whatever way they set `nats.tls`; those that look at it or at durations are fine (H7)."""
    (tmp_path / "ops.yml").write_text(content)
    command = read(tmp_path, "bosh create-env bosh.yml -o ops.yml\n")
    assert command.leftovers() == ((tmp_path / "ops.yml",) if left_over else ())
    if left_over:
        with pytest.raises(SpecError, match=r"ops\.yml"):
            command.refuse_leftovers()


WORDS = st.lists(
    st.text(alphabet=st.sampled_from("ab$`\"'\\ \t#~*?{}!;|&<>()=-./"), max_size=12),
    min_size=1,
    max_size=5,
)


@examples(150)
@given(WORDS)
def test_quoted_words_come_through_as_they_are(words: list[str]) -> None:
    """Whatever a shell's own quoting protects."""
    text = f"bosh create-env {shlex.join(words)}"
    script = command_line.read_script(text, path=Path("/x/y.sh"), environment={})
    assert script.commands[0].words == ("bosh", "create-env", *words)


@pytest.mark.parametrize(
    "text",
    [
        "a\"b\"'c'd",
        '"a\\"b\\$c\\`d\\\\e\\f"',
        "a\\ b\\\\c",
        '"a\\\nb" c\\\nd',
        "x=~ ~ ~/a '~' \"~\" a~",
        "$IAAS\"$IAAS\"${IAAS}x '$IAAS'",
        'a$ "b$" $',
        "'' \"\" a#b #c",
        '"$@" $@ a"" ',
        "-v x='multi\nline' y",
    ],
)
def test_words_are_those_that_a_real_shell_makes(text: str) -> None:
    """Compared with the shell of this machine."""
    found = command_line.read_script(f"run {text}", path=Path("/x.sh"), environment=HOME)
    script = f"printf '%s\\0' {text}"
    said = subprocess.run(["sh", "-c", script], env=HOME, capture_output=True, check=True)  # noqa: S607 - any shell
    assert [word.encode() for word in found.commands[0].words[1:]] == said.stdout.split(b"\0")[:-1]
