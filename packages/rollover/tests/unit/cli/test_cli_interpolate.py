"""`rollover int` as a process: what goes to stdout, what to stderr, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rollover.cli.interpolate import command


def run(*arguments: str, stdin: str = "", environment: dict[str, str] | None = None) -> Result:
    """Run the command."""
    runner = CliRunner(env=environment)
    return runner.invoke(command, list(arguments), input=stdin, standalone_mode=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with a manifest, an ops file and two files of variables; work there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yml").write_text("a: ((v))\n")
    (tmp_path / "o.yml").write_text("- {type: replace, path: '/b?', value: ((w))}\n")
    (tmp_path / "l.yml").write_text("w: from file\ny: 1\n")
    (tmp_path / "pem").write_text("two\nlines\n")
    return tmp_path


def test_everything_together(folder: Path) -> None:
    """All options in one call; the result alone on stdout."""
    ended = run(
        "m.yml",
        "-o",
        "o.yml",
        "--var-file",
        "v=pem",
        "-l",
        "l.yml",
        "--vars-env",
        "P",
        environment={"P_w": "lost"},
    )
    assert (ended.return_value, ended.stderr) == (0, "")
    assert ended.stdout == "a: |\n  two\n  lines\nb: from file\n"


def test_a_manifest_from_stdin() -> None:
    """`-` reads it."""
    assert run("-", "-v", "v=1", "--path", "/a", stdin="a: ((v))").stdout == "1\n"


def test_a_store_is_written_and_read_again(folder: Path) -> None:
    """What was made is the same the next time."""
    template = "k: ((p))\nvariables: [{name: p, type: password}]\n"
    first = run("-", "--vars-store", "creds.yml", stdin=template)
    assert first.return_value == 0
    assert (folder / "creds.yml").stat().st_mode & 0o777 == 0o600
    assert run("-", "--vars-store", "creds.yml", stdin=template).stdout == first.stdout


FLAG = "invalid argument for flag `"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("m.yml", "--var-errs"), "- Expected to find variables:\n    - v"),
        (
            ("m.yml", "-v", "x=1", "--var-errs-unused"),
            "- Expected to use variables:\n    - x",
        ),
        (
            ("m.yml", "--path", "/b"),
            ("Expected to find a map key 'b' for path '/b' (found map keys: 'a')"),
        ),
        (
            ("m.yml", "--path", "b"),
            (FLAG + "--path' (expected patch.Pointer): Expected to start with '/'"),
        ),
        (
            ("m.yml", "-o", "no.yml"),
            (
                FLAG + "-o, --ops-file' (expected []opts.OpsFileArg): Reading ops file 'no.yml': "
                "Opening file no.yml: open no.yml: no such file or directory"
            ),
        ),
        (
            ("m.yml", "-o", ""),
            (
                FLAG + "-o, --ops-file' (expected []opts.OpsFileArg): Expected file path to be "
                "non-empty"
            ),
        ),
        (
            ("m.yml", "-l", "no.yml"),
            (
                FLAG + "-l, --vars-file' (expected []template.VarsFileArg): Reading variables file "
                "'no.yml': Opening file no.yml: open no.yml: no such file or directory"
            ),
        ),
        (
            ("m.yml", "-v", "x"),
            (
                FLAG + "-v, --var' (expected []template.VarKV): Expected var 'x' to be in format "
                "'name=value'"
            ),
        ),
        (
            ("m.yml", "--vars-env", ""),
            (
                FLAG
                + "--vars-env' (expected []template.VarsEnvArg): Expected environment variable "
                "prefix to be non-empty"
            ),
        ),
        (
            ("m.yml", "--vars-store", ""),
            (
                FLAG + "--vars-store' (expected opts.VarsFSStore): Expected file path to be "
                "non-empty"
            ),
        ),
        (
            ("m.yml", "-o", "m.yml"),
            (
                FLAG
                + "-o, --ops-file' (expected []opts.OpsFileArg): Deserializing ops file 'm.yml': "
                "yaml: unmarshal errors:\n"
                "  line 1: cannot unmarshal !!map into []patch.OpDefinition"
            ),
        ),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_fails_ends_with_1_and_an_empty_line(arguments: tuple[str, ...], message: str) -> None:
    """As `bosh`: one empty line on stdout, the reason and the exit code on stderr."""
    ended = run(*arguments)
    assert (ended.return_value, ended.stdout) == (1, "\n")
    assert ended.stderr == f"{message}\nExit code 1\n"


def test_files_that_cannot_be_read_are_named_in_full(folder: Path) -> None:
    """The manifest and the file of a variable by their absolute paths, a directory as one."""
    missing = folder / "no.yml"
    assert run("no.yml").stderr == (
        f"Opening file {missing}:\n  open {missing}: no such file or directory\nExit code 1\n"
    )
    assert run("m.yml", "--var-file", "v=no.yml").stderr == (
        f"{FLAG}--var-file' (expected []template.VarFileArg): Reading variable from file "
        f"'{missing}': Opening file {missing}: open {missing}: no such file or directory\n"
        "Exit code 1\n"
    )
    assert run(str(folder)).stderr == (
        f"Reading file content {folder}:\n  read {folder}: is a directory\nExit code 1\n"
    )
