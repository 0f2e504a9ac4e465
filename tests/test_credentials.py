"""bridge/credentials.py: secrets from variables and files, and faults that do not repeat them."""

from pathlib import Path

import pytest

from bridge.credentials import VARIABLES, Secrets, given, looks_secret, read, read_named


def one(environ: dict[str, str]) -> tuple[str, list[str]]:
    """RTZR's client secret, and what is wrong with it."""
    secrets, faults = read(environ, ("client_secret",))
    return secrets.client_secret, faults


def fault(environ: dict[str, str]) -> str:
    value, faults = one(environ)
    assert value == ""
    (line,) = faults
    assert "\n" not in line
    return line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret"


def test_all_from_variables() -> None:
    environ = {variable: f"value of {variable}" for variable in VARIABLES.values()}
    secrets, faults = read(environ, tuple(VARIABLES))
    assert faults == []
    assert secrets == Secrets(
        "value of RTZR_CLIENT_ID",
        "value of RTZR_CLIENT_SECRET",
        "value of ARI_PASSWORD",
        "value of AMI_SECRET",
        "value of ESL_PASSWORD",
    )


def test_what_is_not_needed_is_not_read() -> None:
    assert read({"ARI_PASSWORD": "x"}, ("client_id",))[0].ari_password == ""


def test_those_that_the_yaml_names(file: Path) -> None:
    file.write_text("two\n")
    environ = {"A": "one", "B_FILE": str(file), "D": " x"}
    values, (missing, spaced) = read_named(environ, ("A", "B", "C", "A", "D"))
    assert values == {"A": "one", "B": "two"}
    assert missing.startswith("C: is not set")
    assert spaced.startswith("D: begins or ends with a space")
    assert "one" not in repr(Secrets(named=values))


def test_repr_hides_all() -> None:
    assert repr(Secrets("hunter1", "hunter2", "hunter3", "hunter4")) == "Secrets()"


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n"])
def test_a_file_gives_its_text_without_the_line_end(file: Path, end: str) -> None:
    file.write_bytes(b"hunter2" + end.encode())
    assert one({"RTZR_CLIENT_SECRET_FILE": str(file)}) == ("hunter2", [])


def test_a_variable_may_end_with_a_line_end_too() -> None:
    assert one({"RTZR_CLIENT_SECRET": "hunter2\n"}) == ("hunter2", [])


def test_missing_and_empty_are_the_same() -> None:
    line = fault({})
    assert line.startswith(
        "RTZR_CLIENT_SECRET: is not set; set it, or RTZR_CLIENT_SECRET_FILE to the path of"
    )
    assert fault({"RTZR_CLIENT_SECRET": "", "RTZR_CLIENT_SECRET_FILE": ""}) == line


def test_an_empty_variable_beside_a_file_is_no_second_answer(file: Path) -> None:
    file.write_text("hunter2")
    environ = {"RTZR_CLIENT_SECRET": "", "RTZR_CLIENT_SECRET_FILE": str(file)}
    assert one(environ) == ("hunter2", [])


def test_both_are_refused(file: Path) -> None:
    file.write_text("hunter2")
    line = fault({"RTZR_CLIENT_SECRET": "hunter2", "RTZR_CLIENT_SECRET_FILE": str(file)})
    assert line == (
        "RTZR_CLIENT_SECRET: is given twice, as RTZR_CLIENT_SECRET_FILE also; unset one of the two"
    )


def test_a_file_that_is_not_there_is_named(file: Path) -> None:
    assert fault({"RTZR_CLIENT_SECRET_FILE": str(file)}) == (
        f"RTZR_CLIENT_SECRET_FILE: {file} cannot be read (No such file or directory); give the full path "
        "of a readable file"
    )


def test_a_folder_is_named(tmp_path: Path) -> None:
    assert f"{tmp_path} cannot be read (Is a directory)" in fault({"RTZR_CLIENT_SECRET_FILE": str(tmp_path)})


@pytest.mark.parametrize("text", ["", "\n", " \r\n "])
def test_an_empty_file_is_named(file: Path, text: str) -> None:
    file.write_text(text)
    assert fault({"RTZR_CLIENT_SECRET_FILE": str(file)}) == (
        f"RTZR_CLIENT_SECRET_FILE: {file} is empty; write the secret into it"
    )


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"hunter2\nhunter3", "is not one line of text"),
        (b"hunter2\x00", "is not one line of text"),
        (b"h" * 5000, "is not one line of text"),
        (b" hunter2", "begins or ends with a space"),
        (b"hunter2 \n", "begins or ends with a space"),
        (b"hunter2\xff", "is not text in UTF-8"),
    ],
)
def test_what_is_no_secret_is_refused_and_not_repeated(file: Path, raw: bytes, why: str) -> None:
    file.write_bytes(raw)
    line = fault({"RTZR_CLIENT_SECRET_FILE": str(file)})
    assert why in line
    assert "hunter" not in line


@pytest.mark.parametrize("value", ["hunter2", "hunter2/x", "hunter2\x00", "hunter2" * 1000])
def test_a_secret_in_the_place_of_a_path_is_not_repeated(value: str) -> None:
    assert "hunter2" not in fault({"RTZR_CLIENT_SECRET_FILE": value})


@pytest.mark.parametrize(
    "key", ["token", "access_token", "clientSecret", "ARI-PASSWORD", "api_key", "Authorization"]
)
def test_keys_that_look_secret(key: str) -> None:
    assert looks_secret(key)


@pytest.mark.parametrize("key", ["tokens_issued", "keywords", "username", "passed", "client", "key", ""])
def test_keys_that_do_not(key: str) -> None:
    assert not looks_secret(key)


def test_a_file_that_is_not_there_gives_nothing(tmp_path: Path) -> None:
    file = tmp_path / "token"
    environ = {"A": "one", "B": "", "C_FILE": str(file), "D_FILE": ""}
    assert [name for name in "ABCD" if given(environ, name)] == ["A"]
    file.write_text("two")
    assert given(environ, "C")


def test_a_file_that_cannot_even_be_looked_for_is_given_and_its_fault_is_told() -> None:
    environ = {"A_FILE": "/" + 300 * "x"}  # as a secret would be that is put into the wrong variable
    assert given(environ, "A")
    (fault,) = read_named(environ, ["A"])[1]
    assert "cannot be read (File name too long)" in fault
