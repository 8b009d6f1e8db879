"""The `jaxcnn` command's parts, put together."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer

from jaxcnn import JaxcnnError
from jaxcnn.cli._arrange import arranged
from jaxcnn.cli._devices import devices
from jaxcnn.cli._failure import Failure
from jaxcnn.cli._interrupt import interrupt
from jaxcnn.cli._options import in_options
from jaxcnn.cli.bench import bench
from jaxcnn.cli.check import check
from jaxcnn.cli.explain import explain
from jaxcnn.cli.export import export
from jaxcnn.cli.predict import predict
from jaxcnn.cli.report import report
from jaxcnn.cli.sites import sites
from jaxcnn.cli.train import train
from jaxcnn.session import SessionError, TrainingError

_UsageError: Any = typer.BadParameter.__base__  # Typer exports no name for it

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (train, predict, report, explain, export, check, bench, sites):
    app.command()(arranged(_command))


def _print_version(wanted: bool) -> bool:
    if not wanted:
        return wanted
    import jax

    from jaxcnn import __version__

    found = ", ".join(f"{device.platform}:{device.id} ({device.device_kind})" for device in devices())
    print(f"jaxcnn {__version__}\njax {jax.__version__}\ndevices {found}")
    raise typer.Exit


@app.callback()
def jaxcnn(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions of jaxcnn and jax, and the devices.",
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
    except SessionError as error:
        return _complain(in_options(str(error)), 2)
    except TrainingError as error:
        return _complain(in_options(str(error)), 1)
    except JaxcnnError as error:
        return _complain(str(error), 2)


def _complain(message: str, code: int) -> int:
    print(f"jaxcnn: {' '.join(message.split())}", file=sys.stderr)
    return code
