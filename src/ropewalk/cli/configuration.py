"""`ropewalk config`."""

from __future__ import annotations

import typer

config_app = typer.Typer(help="The configuration: its commented default, and its schema.", no_args_is_help=True)


@config_app.command("default")
def config_default() -> None:
    """Print the commented default configuration."""
    from ropewalk.config import default_yaml

    print(default_yaml(), end="")


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the configuration."""
    from ropewalk.config import json_schema

    print(json_schema(), end="")
