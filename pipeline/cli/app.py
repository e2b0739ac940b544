"""The ``passerby`` command line. Commands import their dependencies when they run, so that help is fast."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pipeline.address import redact
from pipeline.cli.console import serve, tokens_app
from pipeline.cli.convert import convert
from pipeline.cli.detector import detector_app
from pipeline.cli.evaluate import evaluate, evaluate_identities
from pipeline.cli.forget import forget
from pipeline.cli.identities import associate, identities_app, refine
from pipeline.cli.link import link
from pipeline.cli.live import live, probe, validate
from pipeline.cli.logs import LEVELS, configure_logging
from pipeline.cli.output import EXIT_CODES
from pipeline.cli.reid import reid_app
from pipeline.cli.run import demo, run
from pipeline.cli.search import search
from pipeline.cli.store import store_app

log = logging.getLogger("pipeline.cli.app")  # also with python -m, where __name__ is __main__
INTERNAL = 70  # EX_SOFTWARE
ClickException: Any = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)  # typer may carry its own click

app = typer.Typer(
    rich_markup_mode=None,
    name="passerby", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    help="Track people in video from one or more fixed cameras, and across cameras.", epilog=EXIT_CODES,
)  # fmt: skip


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Same as --log-level info.")] = False,
    log_level: Annotated[str, typer.Option(metavar="LEVEL", help="Minimum level of log messages: debug, info, warning or error.")] = "",
    log_json: Annotated[bool, typer.Option("--log-json", help="Write log messages as JSON lines.")] = False,
) -> None:
    if log_level and log_level not in LEVELS:
        raise typer.BadParameter(f"{log_level!r}: must be one of {', '.join(LEVELS)}", param_hint="--log-level")
    configure_logging(log_level or ("info" if verbose else "warning"), log_json)
    if version:
        from importlib import metadata

        print(f"passerby {metadata.version('passerby')}")
        raise typer.Exit


COMMANDS: dict[str, Callable[..., None]] = {
    "run": run, "live": live, "link": link, "associate": associate, "refine": refine, "eval": evaluate, "eval-identities": evaluate_identities, "probe": probe,
    "search": search, "forget": forget, "validate": validate, "serve": serve, "convert": convert, "demo": demo,
}  # fmt: skip
for name, command in COMMANDS.items():
    app.command(name, epilog=EXIT_CODES)(command)
for name, group in (
    ("identities", identities_app),
    ("store", store_app),
    ("tokens", tokens_app),
    ("reid", reid_app),
    ("detector", detector_app),
):
    app.add_typer(group, name=name)


@app.command(epilog=EXIT_CODES)
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the installation: packages, execution providers, video encoder, and whether the models load."""
    from pipeline.jobs.doctor import examine

    checks = examine()
    if as_json:
        print(json.dumps([check._asdict() for check in checks], indent=1))
    else:
        for check in checks:
            print(
                f"{ {True: 'ok  ', False: 'FAIL', None: '-   '}[check.good] } {check.name}: {check.found}"
                + (f"\n       {check.hint}" if check.hint else "")
            )
    if any(check.good is False for check in checks):
        raise typer.Exit(1)


def main() -> None:
    """Run the command. A user error is one message on standard error and a documented exit code."""
    configure_logging()
    try:
        code = app(args=options_first(sys.argv[1:]), prog_name="passerby", standalone_mode=False)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except ClickException as error:
        error.message = redact(error.message)
        error.show()
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            log.critical("internal error; please report it with this traceback", exc_info=True)
            code = INTERNAL
        else:
            log.error("%s", error)
    raise SystemExit(code or 0)


def options_first(words: list[str]) -> list[str]:
    """Move the logging options in front of the command name, so that they are accepted on both sides of it."""
    if "--" in words:
        return words
    flags = [word for word in words if word in ("-v", "--verbose", "--log-json")]
    rest = [word for word in words if word not in flags]
    for at, word in enumerate(rest):
        if word == "--log-level" and at + 1 < len(rest):
            return [*flags, *rest[at : at + 2], *rest[:at], *rest[at + 2 :]]
        if word.startswith("--log-level="):
            return [*flags, word, *rest[:at], *rest[at + 1 :]]
    return [*flags, *rest]


def exit_code_of(error: Exception) -> int | None:
    from pipeline.errors import PasserbyError

    return error.code if isinstance(error, PasserbyError) else None


if __name__ == "__main__":
    main()
