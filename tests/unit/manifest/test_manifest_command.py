"""The command `bosh-interpolate`: what goes to stdout, what to stderr, and how it ends."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from rollover.manifest.command import main


class Ended(NamedTuple):
    """How the command ended."""

    code: int
    stdout: str
    stderr: str


class Run:
    """Runs the command in this process, with pytest's capture."""

    def __init__(self, captured: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._captured = captured
        self._patch = patch

    def __call__(self, *arguments: str, stdin: str = "") -> Ended:
        """Run it."""
        self._patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        code = main(arguments)
        sys.stdout.flush()
        return Ended(code, *self._captured.readouterr())


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return what runs the command."""
    return Run(capsys, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with a manifest, an ops file and two files of variables; work there."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yml").write_text("a: ((v))\n")
    (tmp_path / "o.yml").write_text("- {type: replace, path: '/b?', value: ((w))}\n")
    (tmp_path / "l.yml").write_text("w: from file\ny: 1\n")
    (tmp_path / "pem").write_text("two\nlines\n")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_everything_together(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """All options in one call; the result alone on stdout."""
    monkeypatch.setenv("P_w", "lost")
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
    )
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == "a: |\n  two\n  lines\nb: from file\n"


def test_a_manifest_from_stdin(run: Run) -> None:
    """`-` reads it."""
    assert run("-", "-v", "v=1", "--path", "/a", stdin="a: ((v))").stdout == "1\n"


def test_a_store_is_written_and_read_again(run: Run, folder: Path) -> None:
    """What was made is the same the next time."""
    template = "k: ((p))\nvariables: [{name: p, type: password}]\n"
    first = run("-", "--vars-store", "creds.yml", stdin=template)
    assert first.code == 0
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
def test_what_fails_ends_with_1_and_an_empty_line(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    """As `bosh`: one empty line on stdout, the reason and the exit code on stderr."""
    ended = run(*arguments)
    assert (ended.code, ended.stdout) == (1, "\n")
    assert ended.stderr == f"{message}\nExit code 1\n"


def test_files_that_cannot_be_read_are_named_in_full(run: Run, folder: Path) -> None:
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


@pytest.mark.parametrize("arguments", [(), ("m.yml", "--no-such"), ("m.yml", "-v"), ("a", "b")])
def test_arguments_that_cannot_be_read_end_with_1(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """The usage and the reason go to stderr, nothing to stdout."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (1, "")
    assert said.err.startswith("usage: bosh-interpolate ")


def test_an_option_is_never_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    """`--var` is an option of its own, `--vars-f` is none: a script would break one day."""
    with pytest.raises(SystemExit):
        main(("m.yml", "--vars-f", "x.yml"))
    assert "--vars-f" in capsys.readouterr().err


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """`python -m` runs it: bytes to stdout as they are."""
    (tmp_path / "m.yml").write_text("a: ((v))\n")
    ended = subprocess.run(
        (sys.executable, "-m", "rollover.manifest", "m.yml", "-v", "v=ä"),
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "a: ä\n".encode(), b"")
