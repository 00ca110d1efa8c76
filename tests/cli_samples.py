"""What tests see of a command: what it prints, or the one line with which it refuses."""

import pytest

from abkd_jax.cli import parser


def printed(capsys, *arguments):
    """Standard output of a command that succeeds."""
    parser.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def refused(capsys, *arguments):
    """The one line with which a command ends; `sys.exit` writes it to stderr and makes the status 1."""
    with pytest.raises(SystemExit) as caught:
        parser.main([str(argument) for argument in arguments])
    line = caught.value.code
    assert isinstance(line, str)
    assert line.startswith(f"abkd_jax {arguments[0]}: ")
    assert "\n" not in line
    assert "Traceback" not in capsys.readouterr().err
    return line
