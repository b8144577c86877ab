"""Reading from the file system: includes, their limits, and files that cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from nats_config import Config, read_config
from nats_config.errors import NatsConfigError
from nats_config.parser import MAX_TEXT


def written(folder: Path, **texts: str) -> Path:
    """Write `name.conf` for each text and return the path of `main.conf`."""
    for name, text in texts.items():
        (folder / f"{name}.conf").write_text(text)
    return folder / "main.conf"


def read(path: Path) -> Config:
    """Read a file in an empty environment."""
    return read_config(path, environment={})


def refusal(path: Path) -> NatsConfigError:
    """Return the error that a file is refused with."""
    with pytest.raises(NatsConfigError) as caught:
        read(path)
    assert caught.value.hint
    return caught.value


def test_all_files_are_listed_in_order(tmp_path: Path) -> None:
    """A caller who watches a configuration learns every file that it is made of."""
    main = written(tmp_path, main="include a.conf\nport: 1", a="include b.conf", b="debug: true")
    assert [Path(name).name for name in read(main).files] == ["main.conf", "a.conf", "b.conf"]


def test_a_value_of_an_include_has_its_own_place(tmp_path: Path) -> None:
    """What stands in an included file is found there, not in the file that includes it."""
    main = written(tmp_path, main="include a.conf", a="\nport: 4222")
    place = read(main).root.fields["port"].place
    assert (Path(place.file).name, place.line) == ("a.conf", 2)


def test_a_relative_path_is_read_in_the_given_directory(tmp_path: Path) -> None:
    """`cwd` stands for the directory of the server's process."""
    written(tmp_path, main="port: 4222")
    assert read_config("main.conf", environment={}, cwd=tmp_path).path == "main.conf"


def test_an_absolute_include_is_joined_like_a_relative_one(tmp_path: Path) -> None:
    """nats-server joins even `/a.conf` to the folder of the including file."""
    main = written(tmp_path, main="include /a.conf", a="port: 4222")
    assert "port" in read(main).root.fields


def test_a_missing_include_is_reported_where_it_is_asked_for(tmp_path: Path) -> None:
    """The place is the line of the include, the message names the file."""
    error = refusal(written(tmp_path, main="port: 1\ninclude gone.conf"))
    assert error.place.endswith("main.conf:2:9")
    assert "gone.conf" in error.message


def test_an_include_loop_is_refused(tmp_path: Path) -> None:
    """Files that include each other end in an error that shows the loop."""
    error = refusal(written(tmp_path, main="include a.conf", a="x { include main.conf }"))
    assert "includes itself" in error.message
    assert "a.conf" in error.hint


def test_includes_that_multiply_are_refused(tmp_path: Path) -> None:
    """A chain of files that each include the next twice is stopped before it explodes."""
    texts = {f"f{number}": f"include f{number + 1}.conf\n" * 2 for number in range(25)}
    error = refusal(written(tmp_path, main="include f0.conf", f25="a: 1", **texts))
    assert "in all" in error.message


def test_a_deep_chain_of_includes_is_refused(tmp_path: Path) -> None:
    """More includes inside each other than any real configuration has are an error."""
    texts = {f"f{number}": f"include f{number + 1}.conf" for number in range(50)}
    error = refusal(written(tmp_path, main="include f0.conf", f50="a: 1", **texts))
    assert "inside each other" in error.message


def test_nesting_counts_through_includes(tmp_path: Path) -> None:
    """Depth is bounded for the tree as a whole."""
    deep = "a { " * 60 + "include next.conf\n" + "}" * 60
    error = refusal(written(tmp_path, main=deep, next="b { " * 60 + "c: 1" + " }" * 60))
    assert "inside each other" in error.message


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A size limit stands before the parser."""
    path = tmp_path / "main.conf"
    with path.open("wb") as file:
        file.truncate(MAX_TEXT + 1)
    assert "larger than" in refusal(path).message


@pytest.mark.parametrize("name", ["gone.conf", "."])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    """A missing file and a folder are configuration errors, not foreign exceptions."""
    assert refusal(tmp_path / name).place
