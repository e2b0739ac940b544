"""``passerby serve`` and ``passerby tokens``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.output import EXIT_CODES

HOST = Annotated[str, typer.Option(help="Address to listen at. Others than loopback need tokens.")]
TOKENS = Annotated[Path | None, typer.Option(help="File of tokens. Default: console-tokens.json beside the store.")]


def serve(
    store: Annotated[Path, typer.Argument(metavar="OUT|STORE", help="Output folder with a store.db, or a store.")],
    site: Annotated[Path | None, typer.Option(help="Site file (YAML); the settings view writes it.")] = None,
    host: HOST = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0: any free one.")] = 8080,
    tokens: TOKENS = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A reverse proxy passes on requests: believe its X-Forwarded headers.")
    ] = False,
    proxy_address: Annotated[str, typer.Option(help="With --behind-proxy: address of the proxy; several with commas.")] = "127.0.0.1",
    detector: Annotated[str | None, typer.Option(help="Detector for pictures that are searched: shipped name or .onnx file.")] = None,
    reid: Annotated[str | None, typer.Option(help="Re-ID model of the store's embeddings: shipped name or bundle (.onnx).")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (YAML).")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one setting, e.g. store.false_positive_rate=0.001.")
    ] = None,
) -> None:
    """Serve the console: people, search by picture, review, cameras, reports and settings, in the browser. Requires passerby[web]."""
    needed()
    from pipeline.config import load_config
    from pipeline.web.serve import Address
    from pipeline.web.serve import serve as run

    settings = load_config(config, set_ or (), {"detector.model": detector, "reid.model": reid})
    run(store, site, Address(host, port, proxy_address if behind_proxy else None, tokens), settings)


tokens_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, epilog=EXIT_CODES,
    help="Tokens of the console: who may log in, and what they may do.",
)  # fmt: skip
FILE_ = Annotated[Path, typer.Option("--file", help="File of tokens, or the output folder of the console.")]
DEFAULT = Path("console-tokens.json")


@tokens_app.command("add", epilog=EXIT_CODES)
def add(
    name: Annotated[str, typer.Argument(help="Who it is for; stands in the audit log.")],
    role: Annotated[str, typer.Option(help="viewer: look and search; reviewer: also correct, name and tag; admin: everything.")] = "viewer",
    file: FILE_ = DEFAULT,
) -> None:
    """Make a token and print it, once: only its argon2 hash is kept. An earlier token of the same name is void."""
    needed()
    from pipeline.web.access import Role, Tokens

    print(Tokens(_place(file)).add(name, Role.of(role)))


@tokens_app.command("remove", epilog=EXIT_CODES)
def remove(name: Annotated[str, typer.Argument(help="Whose token.")], file: FILE_ = DEFAULT) -> None:
    """Remove a token. Sessions that it began end."""
    needed()
    from pipeline.web.access import Tokens

    Tokens(_place(file)).remove(name)


@tokens_app.command("list", epilog=EXIT_CODES)
def names(file: FILE_ = DEFAULT) -> None:
    """List names and roles."""
    needed()
    from pipeline.web.access import Tokens

    for name, (role, _) in sorted(Tokens(_place(file)).read().items()):
        print(f"{name}: {role.name.lower()}")


def needed() -> None:
    """Raises UsageError if the packages of the console are not installed."""
    from importlib.util import find_spec

    from pipeline.errors import UsageError

    missing = [name for name in ("fastapi", "uvicorn", "websockets", "argon2", "python_multipart") if find_spec(name) is None]
    if missing:
        raise UsageError(f"the console needs {', '.join(missing)}: pip install 'passerby[web]'")


def _place(file: Path) -> Path:
    return file / DEFAULT if file.is_dir() else file
