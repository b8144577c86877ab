"""The reader agrees with nats-server itself on every configuration of the corpus."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nats_config import read_config, read_server_config
from nats_config.errors import NatsConfigError
from rigs.nats_config_corpus import CASES, Case, Verdict
from rigs.nats_oracle import Answer, ask, write_pem

WORKERS = 2


def placed(case: Case, folder: Path) -> Path:
    """Write a case with its files into a folder of its own."""
    folder.mkdir()
    write_pem(folder)
    for name, text in case.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    path = folder / "nats.conf"
    path.write_bytes(case.content)
    return path


def judged(path: Path, case: Case) -> tuple[str, str, str]:
    """Return the reader's digest, its refusal to parse, and its refusal of the meaning."""
    try:
        config = read_config(path.name, environment=case.environment, cwd=path.parent)
    except NatsConfigError as error:
        return "", str(error), ""
    try:
        read_server_config(config, cwd=path.parent)
    except NatsConfigError as error:
        return config.digest, "", str(error)
    return config.digest, "", ""


def disagreement(case: Case, path: Path, answer: Answer) -> str:
    """Return what the reader and nats-server see differently, nothing where they agree."""
    digest, unparsed, refused = judged(path, case)
    agreed = {
        Verdict.VALID: bool(digest) and digest == answer.digest and not refused,
        Verdict.SYNTAX: bool(unparsed) and answer.of_syntax,
        Verdict.TYPED: bool(refused) and bool(answer.refusal) and not answer.of_syntax,
        Verdict.BEYOND: bool(digest) and bool(answer.refusal) and not answer.of_syntax,
    }
    if agreed[case.verdict]:
        return ""
    return f"{case.name}: {case.verdict}: {answer} / {digest or unparsed} {refused}"


def asked(cases: Iterable[Case], folder: Path) -> list[str]:
    """Ask nats-server about all cases and return the disagreements."""
    placements = [(case, placed(case, folder / str(number))) for number, case in enumerate(cases)]

    def one(placement: tuple[Case, Path]) -> str:
        case, path = placement
        return disagreement(case, path, ask(path, environment=case.environment))

    with ThreadPoolExecutor(WORKERS) as pool:
        return [found for found in pool.map(one, placements) if found]


def test_the_reader_agrees_with_nats_server_on_the_corpus(tmp_path: Path) -> None:
    """Same digest where nats-server accepts, a refusal of the same kind where it refuses."""
    assert "\n".join(asked(CASES, tmp_path)) == ""


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    """At least sixty configurations, valid and invalid, each found again by its name."""
    assert len(CASES) >= 60
    assert len({(case.verdict, case.name) for case in CASES}) == len(CASES)
    assert {case.verdict for case in CASES} == set(Verdict)


def test_the_oracle_sees_a_wrong_digest(tmp_path: Path) -> None:
    """A case whose text differs from what nats-server reads is reported, so the test can fail."""
    case = Case("other", Verdict.VALID, "port: 4222")
    path = placed(case, tmp_path / "one")
    answer = ask(path)
    path.write_text("port: 4223")
    assert "other" in disagreement(case, path, answer)
