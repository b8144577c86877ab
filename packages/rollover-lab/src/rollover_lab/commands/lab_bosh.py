"""The parts of `rollover lab` for a BOSH lab."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rollover.cli.options import Number, settings_of, settings_options
from rollover.errors import ExitCode

if TYPE_CHECKING:
    from rollover.cli.printer import Printer
    from rollover_lab.bosh.lab import BoshLabStatus
    from rollover_lab.bosh.pinging import PingReport
    from rollover_lab.bosh.shape import Shape


_FILE = click.Path(path_type=Path, dir_okay=False)
_FAULTS = ("none", "hung", "dead", "slow", "crash-before-save")
DIRECTORY = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("lab"),
    show_default=True,
    help="The lab's directory.",
)


def show_status(printer: Printer, directory: Path) -> int:
    """Show what runs of a BOSH lab."""
    from rollover_lab.bosh import lab  # noqa: PLC0415 - imports certificates

    status = lab.status(directory)
    if printer.json:
        printer.data("lab", status)
    else:
        _show_status(printer, status)
    return ExitCode.DONE if status.up else ExitCode.STOPPED


def _show_status(printer: Printer, status: BoshLabStatus) -> None:
    printer.line(f"{status.name}: {'up' if status.up else 'down'}")
    if not status.up:
        return
    printer.table(
        ("process", "state", "pid"),
        (
            (process.name, "running" if process.running else "down", str(process.pid or "–"))
            for process in status.director
        ),
    )
    printer.line()
    printer.table(
        ("agent", "vm", "state", "fault", "starts"),
        (
            (
                vm.agent_id,
                vm.vm_cid,
                "running" if vm.running else "down",
                vm.fault.value,
                str(vm.starts),
            )
            for vm in status.vms
        ),
    )


@click.command(
    "create-env",
    epilog="Example:\n\n  rollover lab create-env bosh.yml --state ./state.json "
    "-o add-new-ca.yml --vars-store ./creds.yml -l ./vars.yml",
)
@click.argument("manifest", metavar="PATH")
@click.option("-o", "--ops-file", "ops_files", multiple=True, metavar="PATH", help="Operations.")
@click.option("-v", "--var", "assignments", multiple=True, metavar="VAR=VALUE", help="A variable.")
@click.option(
    "--var-file", "contents", multiple=True, metavar="VAR=PATH", help="A file as a variable."
)
@click.option(
    "-l", "--vars-file", "vars_files", multiple=True, metavar="PATH", help="Variables from YAML."
)
@click.option(
    "--vars-env", "prefixes", multiple=True, metavar="PREFIX", help="Variables `PREFIX_name`."
)
@click.option("--vars-store", metavar="PATH", help="Where typed variables are kept or generated.")
@click.option("--state", metavar="PATH", help="State file path.")
@click.option("--recreate", is_flag=True, help="Recreate the VM although nothing changed.")
@click.option("--skip-drain", is_flag=True, help="Skip running drain and pre-stop scripts.")
@click.option("-n", "--non-interactive", is_flag=True, hidden=True)
@click.option("--tty", is_flag=True, help="Show what is being done, whatever stdout is.")
def create_env(**values: Any) -> int:
    """Deploy the director of a lab, with the flags and the output of `bosh create-env`.

    As with bosh, what is being done is shown on a terminal, or with `--tty`.
    """
    from bosh_interpolate import ManifestError  # noqa: PLC0415
    from rollover_lab.bosh.create_env import CreateEnv  # noqa: PLC0415 - imports certificates
    from rollover_lab.bosh.create_env import create_env as run  # noqa: PLC0415

    values.pop("non_interactive")
    shown = values.pop("tty") or sys.stdout.isatty()
    write: Callable[[str], None] = _write if shown else lambda _: None
    try:
        run(CreateEnv(**values), write)
    except ManifestError as error:
        _write("\n")  # as bosh does, also where nothing else is shown
        sys.stderr.write(f"{error.report()}\n")
        write("\n")
        sys.stderr.write(f"Exit code {int(ExitCode.USAGE)}\n")
        return ExitCode.USAGE
    write("\nSucceeded\n")
    return ExitCode.DONE


@click.command(epilog="Example:\n\n  rollover lab expire --directory lab --yes")
@DIRECTORY
@click.option(
    "-o",
    "--ops-file",
    "ops_files",
    multiple=True,
    metavar="PATH",
    help="As in the last create-env.",
)
@click.option("--yes", is_flag=True, help="Yes, cut all agents of this lab off.")
@settings_options
def expire(**values: Any) -> None:
    """Make the NATS CA of a BOSH lab expire, with all it has signed: agents get unresponsive."""
    from rollover_lab.bosh import expiry as expiring  # noqa: PLC0415 - imports certificates
    from rollover_lab.bosh import lab  # noqa: PLC0415
    from rollover_lab.bosh.lab import create_env_call  # noqa: PLC0415

    printer = settings_of(values).printer()
    layout, cloud = lab.attach_cloud(values["directory"])
    if not values["yes"]:
        click.confirm("Cut all agents of this lab off?", abort=True, err=True)
    request = create_env_call(layout, *values["ops_files"])
    done = expiring.expire(layout, cloud, request=request)
    if printer.json:
        printer.data("expired", done)
        return
    printer.line(f"expired at {done.ended_at:%H:%M:%S}: {done.certificates} certificates")
    if not done.state_updated:
        printer.line("the state file does not know this manifest: name its ops files with `-o`")
    printer.line("next command: rollover plan --recover")


@click.command(
    epilog="Examples:\n\n  rollover lab fault cf/router/0 hung\n\n"
    "  rollover lab fault cf/router/0 none",
)
@click.argument("name", metavar="AGENT")
@click.argument("kind", metavar="KIND", type=click.Choice(_FAULTS))
@DIRECTORY
@settings_options
def fault(**values: Any) -> None:
    """Let something be wrong with one agent, or heal it.

    AGENT is its id, its VM, or its instance: `[deployment/]group/index`. KIND: `hung` answers
    nothing, `dead` is gone, `slow` restarts slower than a director waits, `crash-before-save`
    loses its next credentials, `none` heals it.
    """
    from rollover_lab.bosh import lab  # noqa: PLC0415

    printer = settings_of(values).printer()
    layout, cloud = lab.attach_cloud(values["directory"])
    agent = lab.find_agent(values["name"], layout, cloud)
    cloud.fault(agent, values["kind"])
    printer.say(f"{values['kind']}: agent {agent}")


@click.command(epilog="Example:\n\n  rollover lab ping --seconds 60 --report pings.json")
@DIRECTORY
@click.option("--seconds", type=Number(0, 86400, min_open=True), help="Until Ctrl-C by default.")
@click.option(
    "--interval",
    type=Number(0.01, 60),
    default=0.5,
    show_default=True,
    help="Seconds between two pings.",
)
@click.option("--report", type=_FILE, help="Write what was counted there, as JSON.")
@settings_options
def ping(**values: Any) -> int:
    """Ping every agent all the time, as the director would; count answers and silences.

    Exit code 0: there are agents, each answered, and no ping was lost.
    """
    from rollover_lab.bosh import lab, pinging  # noqa: PLC0415
    from rollover_lab.bosh.pinging import write_report  # noqa: PLC0415

    printer = settings_of(values).printer()
    layout, _ = lab.attach_cloud(values["directory"])
    # Also where a shell has told it not to mind Ctrl-C, as it does in the background.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    with pinging.pinging_agents(layout, interval_seconds=values["interval"]) as pings:
        pings.wait(values["seconds"])
    report = pings.report()
    if values["report"] is not None:
        write_report(values["report"], report)
    if printer.json:
        printer.data("pings", report)
    else:
        _show_pings(printer, report)
    if not report.agents:
        printer.say("this lab has no agents")
    elif report.mute:
        printer.say(f"never answered: {', '.join(report.mute)}")
    return ExitCode.DONE if report.fine else ExitCode.STOPPED


def _show_pings(printer: Printer, report: PingReport) -> None:
    printer.table(
        ("agent", "answered", "lost", "longest silence"),
        (
            (
                agent.agent,
                str(agent.answered),
                str(agent.lost),
                f"{agent.longest_silence_seconds:.1f} s",
            )
            for agent in report.agents
        ),
    )
    away = sum(outage.seconds for outage in report.outages)
    printer.line(
        f"{report.answered} answered, {report.lost} lost; "
        f"NATS was away {len(report.outages)} times, {away:.1f} s"
    )


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """End as Ctrl-C does: a signal handler."""
    raise KeyboardInterrupt


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


BOSH = "bosh"
MANY = 200
"""Agents of a lab that somebody should want knowingly."""
SECONDS = Number(0, 86400, min_open=True)
_OF_NUMBERS = ("agents", "deployments", "max_in_flight", "persistent", "old_stemcell")
_OTHERS = ("health_check", "hurry", "no_resurrection", "uaa", "token_seconds", "like", "at_most")

_F = TypeVar("_F", bound=Callable[..., Any])


def up_options(command: _F) -> _F:
    """Add what `lab up bosh` takes."""
    options = (
        click.option("--agents", type=click.IntRange(1), help="How many agents [bosh: 10]."),
        click.option("--deployments", type=click.IntRange(1), help="In how many [bosh: 2]."),
        click.option("--max-in-flight", type=click.IntRange(1), help="Of each one [bosh: 1]."),
        click.option("--persistent", type=click.IntRange(0), help="Agents with a disk [bosh: 0]."),
        click.option(
            "--old-stemcell",
            type=click.IntRange(0),
            help="Agents that ignore new credentials [bosh: 0].",
        ),
        click.option(
            "--quick", "hurry", is_flag=True, help="Short waits, not those of the real director."
        ),
        click.option(
            "--health-check",
            type=SECONDS,
            metavar="SECONDS",
            help="A deployment that comes and goes as often.",
        ),
        click.option(
            "--no-resurrection",
            is_flag=True,
            help="`hm.resurrector_enabled: false`: the health monitor brings no VM back.",
        ),
        click.option("--uaa", is_flag=True, help="The director takes tokens of a UAA."),
        click.option(
            "--token-seconds",
            type=SECONDS,
            metavar="SECONDS",
            help="How long a token of the UAA lasts [120].",
        ),
        click.option("--like", metavar="URL", help="A lab of the shape of that real director."),
        click.option("--client", metavar="NAME", help="Its user or UAA client [env: BOSH_CLIENT]."),
        click.option("--client-secret-file", type=_FILE, help="Else $BOSH_CLIENT_SECRET."),
        click.option("--ca-cert", metavar="FILE", help="CA of its API [env: BOSH_CA_CERT]."),
        click.option(
            "--at-most", type=click.IntRange(1), help="Shrink its groups to so many agents."
        ),
        click.option("--yes", is_flag=True, help=f"Yes, more than {MANY} agents."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def refuse_options(values: dict[str, Any]) -> None:
    """Refuse what is for a BOSH lab only."""
    for name in (*_OF_NUMBERS, *_OTHERS):
        if values[name]:
            option = {"hurry": "quick"}.get(name, name).replace("_", "-")
            raise click.UsageError(f"`--{option}` goes with `rollover lab up bosh` only")


def start_bosh(values: dict[str, Any], printer: Printer) -> None:
    """Start a BOSH lab; interrupted, it leaves nothing behind."""
    from rollover_lab.bosh import lab  # noqa: PLC0415 - imports certificates

    signal.signal(signal.SIGTERM, interrupt)
    spec = lab.BoshLabSpec(
        shape=_shape_wanted(values),
        quick=values["hurry"],
        health_check_seconds=values["health_check"],
        resurrection=not values["no_resurrection"],
        uaa=values["uaa"] or values["token_seconds"] is not None,
        token_seconds=values["token_seconds"] or lab.TOKEN_SECONDS,
    )
    _check_size(spec.shape, values)
    layout = lab.up(spec, values["directory"], say=printer.say)
    if printer.json:
        printer.data("lab", lab.status(layout.root))
        return
    printer.line(f"up: a director and {spec.shape.instances} agents in `{values['directory']}`")
    printer.line("next commands:")
    printer.line(f"  . {values['directory'] / 'env.sh'}")
    for line in ("bosh instances", "rollover topology", "rollover plan", "rollover rotate"):
        printer.line(f"  {line}")


def _shape_wanted(values: dict[str, Any]) -> Shape:
    from rollover_lab.bosh import shape  # noqa: PLC0415 - imports certificates

    if values["like"] is None:
        return shape.shape_of_numbers(
            agents=values["agents"] or 10,
            deployments=values["deployments"] or min(2, values["agents"] or 2),
            max_in_flight=values["max_in_flight"] or 1,
            persistent=values["persistent"] or 0,
            old_stemcell=values["old_stemcell"] or 0,
        )
    for name in _OF_NUMBERS:
        if values[name] is not None:
            raise click.UsageError(f"`--{name.replace('_', '-')}` goes without `--like` only")
    return _shape_of_director(values)


def _shape_of_director(values: dict[str, Any]) -> Shape:
    from rollover.fleet.description import DirectorDescription  # noqa: PLC0415
    from rollover.platforms.bosh.director_api import Director  # noqa: PLC0415
    from rollover.platforms.bosh.login import CLIENT, access_to  # noqa: PLC0415
    from rollover_lab.bosh import shape  # noqa: PLC0415

    secret = values["client_secret_file"]
    described = DirectorDescription(
        environment=values["like"],
        client=values["client"] or os.environ.get(CLIENT, "admin"),
        client_secret_file=None if secret is None else str(secret),
        ca_cert=values["ca_cert"],
    )
    with Director(access_to(described, environment=os.environ, base=Path.cwd())) as director:
        found = shape.shape_of_director(director)
    return found if values["at_most"] is None else shape.shrink(found, values["at_most"])


def _check_size(wanted: Shape, values: dict[str, Any]) -> None:
    if wanted.instances > MANY and not values["yes"]:
        raise click.UsageError(
            f"that are {wanted.instances} agents: `--yes` starts them all, `--at-most {MANY}` "
            "shrinks every group in proportion"
        )
