"""Options of several commands: groups of them, values that repeat, what is said, and what was given."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harness.config import Config


class SpreadCommand(click.Command):
    """A command without arguments whose repeatable options take several values: ``--seed 0 1`` sets both."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the flag before each further value, then parse as usual."""
        # Flags that may be given several times: each further value gets its flag.
        repeatable = {
            flag for param in self.params if isinstance(param, click.Option) and param.multiple for flag in param.opts
        }
        spread: list[str] = []
        flag, values = "", 0
        for arg in args:
            if arg.startswith("-") and not (flag and values == 0):  # what follows a flag is its value, even -1
                name, equals, _ = arg.partition("=")
                flag, values = (name if name in repeatable else ""), (1 if equals else 0)
            elif flag:
                spread += [flag] if values else []
                values += 1
            spread.append(arg)
        return super().parse_args(ctx, spread)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under the headings of their groups, in the order of the groups."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            shown = param.get_help_record(ctx)
            if shown is not None:
                groups.setdefault(getattr(param, "group", "Options"), []).append(shown)
        for heading, rows in groups.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class GroupedOption(click.Option):
    """An option below a heading of its command's help.

    Args:
        group: The heading.
    """

    def __init__(self, *args: Any, group: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


def below(heading: str) -> Callable[..., Callable[[Any], Any]]:
    """Return a decorator like `click.option` whose options stand below a heading."""

    def option(*names: str, **settings: Any) -> Callable[[Any], Any]:
        return click.option(*names, cls=GroupedOption, group=heading, **settings)

    return option


def said(option: Callable[..., Callable[[Any], Any]] = click.option) -> Callable[[Any], Any]:
    """Return a decorator that adds the options on what a command says: ``-v`` and ``--log-file``."""

    def verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        logging.getLogger("harness").setLevel(logging.DEBUG if value else logging.INFO)

    def log_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
        logger = logging.getLogger("harness")
        for handler in [one for one in logger.handlers if isinstance(one, logging.FileHandler)]:
            logger.removeHandler(handler)
            handler.close()
        if value is None or ctx.resilient_parsing:
            return
        from harness.files import writing_to

        with writing_to(f"--log-file {value}"):
            value.parent.mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(value, encoding="utf-8", errors="backslashreplace")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)

    def decorate(command: Any) -> Any:
        path = click.Path(path_type=Path, dir_okay=False)
        text = "Append all lines, with the time and tracebacks of failures, to a file."
        command = option("--log-file", type=path, callback=log_file, expose_value=False, help=text)(command)
        text = "Log lines on a terminal too, and tracebacks of failures."
        return option("-v", "--verbose", is_flag=True, callback=verbose, expose_value=False, help=text)(command)

    return decorate


def print_config(config: "Config") -> int:
    """Print a configuration as the YAML that ``--config`` reads; return the exit code."""
    import yaml

    click.echo(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True), nl=False)
    return 0


def parse_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, as fields of a configuration.

    Raises:
        UsageError: one of KEY=VALUE has no ``=``.
    """
    from harness.config import parse_assignments

    given = {key: value for key, value in options.items() if value not in (None, ())}
    for key, value in given.items():
        if key in ("set", "protocol_set"):
            given[key] = parse_assignments(value, f"--{key.replace('_', '-')}")
        elif isinstance(value, tuple):
            given[key] = list(value)
    return given
