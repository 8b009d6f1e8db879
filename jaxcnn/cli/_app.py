"""The `jaxcnn` command's parts, put together."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer

import jaxcnn
from jaxcnn.cli._commands import Commands
from jaxcnn.cli._devices import devices
from jaxcnn.cli._failure import Failure
from jaxcnn.cli._interrupt import interrupt
from jaxcnn.cli._options import in_options

_UsageError: Any = typer.BadParameter.__base__  # Typer exports no name for it

app = typer.Typer(
    cls=Commands,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> bool:
    if not wanted:
        return wanted
    found = ", ".join(f"{device.platform}:{device.id} ({device.device_kind})" for device in devices())
    print(f"jaxcnn {jaxcnn.__version__}\njax {jaxcnn.provenance.versions('jax')['jax']}\ndevices {found}")
    print(f"engines {', '.join(jaxcnn.ops.engines().values())}")
    raise typer.Exit


@app.callback()
def command(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions of jaxcnn and jax, the devices, and the engines below jax.",
            callback=_print_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    """Convolutional networks in JAX whose every gradient is derived by hand."""


def run(arguments: list[str]) -> int | None:
    """Run the command, to its exit code if any; whatever the user can mend is one line on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal need not have every letter of a name
        sys.stdout.reconfigure(errors="replace")
    try:
        return app(arguments or ["--help"], prog_name="jaxcnn", standalone_mode=False)
    except _UsageError as error:
        return _complain(error.format_message(), 2)
    except Failure as error:
        return _complain(str(error), error.code)
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}" if error.filename else str(error), 2)
    except typer.Abort:
        return _complain("interrupted", 130)
    except KeyboardInterrupt as error:
        return _complain(str(error) or "interrupted", interrupt.code or 130)
    except jaxcnn.JaxcnnError as error:
        of_session = isinstance(error, jaxcnn.session.SessionError | jaxcnn.session.TrainingError)
        message = in_options(str(error)) if of_session else str(error)
        return _complain(message, 1 if isinstance(error, jaxcnn.session.TrainingError) else 2)


def _complain(message: str, code: int) -> int:
    print(f"jaxcnn: {' '.join(message.split())}", file=sys.stderr)
    return code
