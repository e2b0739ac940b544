"""The command ``passerby``. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from pipeline.cli.detector import detector_app
from pipeline.cli.evaluate import evaluate, evaluate_identities
from pipeline.cli.identities import associate, identities_app, refine
from pipeline.cli.output import EXIT_CODES, say
from pipeline.cli.reid import reid_app
from pipeline.cli.run import demo, run

app = typer.Typer(
    rich_markup_mode=None,
    name="passerby", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    help="Follow people through the video of one or many fixed cameras.", epilog=EXIT_CODES,
)  # fmt: skip


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    if version:
        from importlib import metadata

        print(f"passerby {metadata.version('passerby')}")
        raise typer.Exit


for name, command in (
    ("run", run), ("associate", associate), ("refine", refine), ("eval", evaluate), ("eval-identities", evaluate_identities), ("demo", demo),
):  # fmt: skip
    app.command(name, epilog=EXIT_CODES)(command)
for name, group in (("identities", identities_app), ("reid", reid_app), ("detector", detector_app)):
    app.add_typer(group, name=name)


@app.command(epilog=EXIT_CODES)
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is installed, which execution providers work, and whether the models load."""
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
    """Run the command; a user's mistake is one message on standard error and a documented exit code."""
    try:
        app(standalone_mode=True)
    except SystemExit:
        raise
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        say(f"passerby: {error}")
        raise SystemExit(code) from None


def exit_code_of(error: Exception) -> int | None:
    from detectors.runtime.session import ModelError
    from pipeline.errors import MODEL, PasserbyError

    if isinstance(error, PasserbyError):
        return error.code
    return MODEL if isinstance(error, ModelError) else None


if __name__ == "__main__":
    main()
