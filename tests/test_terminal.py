"""Standard output that is closed, full, of another encoding or no longer read: real processes."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from segexp.errors import InputError, printable
from segexp.terminal import print_table

WORK = "from segexp.terminal import streams\nimport sys\nwith streams():\n    "


def python(work, **more):
    return subprocess.run([sys.executable, "-c", WORK + work], capture_output="stdout" not in more, **more)


def test_letters_that_the_encoding_lacks_are_spelt():
    environment = os.environ | {"PYTHONIOENCODING": "cp1252"}
    result = python("print('é 細 \\udcff')", env=environment)
    assert (result.returncode, result.stdout.strip()) == (0, b"\xe9 \\u7d30 \\udcff")


def test_control_characters_do_not_reach_a_log():
    result = python("print('a\\x1b[2Jb\\rc\\td\\u202e'); sys.exit('no\\x1b')")
    assert result.stdout.replace(b"\r\n", b"\n") == b"a\\x1b[2Jb\\rc\td\\u202e\n"
    assert (result.returncode, result.stderr.strip()) == (1, b"no\\x1b")


def test_a_message_shows_the_names_of_files_in_its_line():
    error = InputError("evil\n\x1b[1mname: expected", "another line")
    assert str(error) == "evil\\n\\x1b[1mname: expected\nanother line"
    assert str(InputError(str(error.args[0]))) == "evil\\n\\x1b[1mname: expected"
    assert printable("\N{NO-BREAK SPACE}é細") == "\N{NO-BREAK SPACE}é細"
    assert printable("a\nb\r") == "a\nb\\r"
    assert printable("a\nb\r", multiline=False) == "a\\nb\\r"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_output_is_said_and_no_success():
    with open("/dev/full", "w") as full:
        result = python("print('x' * 100000)", stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert result.stderr.decode().strip() == (
        "error: standard output: No space left on device; the output is incomplete"
    )


@pytest.mark.parametrize("code", [0, 3])
def test_a_reader_that_left_changes_no_exit_code(code):
    command = [sys.executable, "-c", WORK + f"print('x' * 1000000); print('y', flush=True); sys.exit({code})"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == code


@pytest.mark.skipif(os.name != "posix", reason="a shell's way to close")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_a_closed_output_is_no_file_that_is_opened_next(tmp_path, closed):
    work = f"f = open({str(tmp_path / 'file')!r}, 'w'); print('out'); print('err', file=sys.stderr); f.write('mine')"
    command = f"'{sys.executable}' -c \"$WORK\" {closed}"
    result = subprocess.run(command, shell=True, env=os.environ | {"WORK": WORK + work}, capture_output=True)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "file").read_text() == "mine"


def printed_table(width, terminal=True, message="done"):
    table = Table(box=None)
    for name in ("score", "baseline value", "difference"):
        table.add_column(name, justify="left" if name == "score" else "right")
    table.add_column("", overflow="fold")
    table.add_row("surface Dice", "0.1234567", "-0.0001234", message)
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_table(console, table)
    return console.file.getvalue()


def test_a_table_that_fits_is_a_table():
    head, row = printed_table(80).splitlines()
    assert head.split() == ["score", "baseline", "value", "difference"]
    assert row.split() == ["surface", "Dice", "0.1234567", "-0.0001234", "done"]


def test_a_terminal_too_narrow_for_a_table_gets_whole_cells_in_paragraphs():
    lines = printed_table(40).splitlines()
    assert all(len(line) <= 40 for line in lines)
    text = " ".join(" ".join(lines).split())
    assert text == "surface Dice baseline value 0.1234567, difference -0.0001234, done"


def test_only_the_folded_column_of_a_table_is_wrapped():
    lines = printed_table(80, message="failed: " + "no " * 30).splitlines()
    assert len(lines) > 2
    assert lines[1].split()[:4] == ["surface", "Dice", "0.1234567", "-0.0001234"]
    assert all(len(line) <= 80 for line in lines)


def test_a_file_has_no_width_that_cuts_a_table():
    head, row = printed_table(20, terminal=False).splitlines()
    assert "difference" in head
    assert row.split()[-2:] == ["-0.0001234", "done"]
