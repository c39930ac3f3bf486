"""Several values after one flag: ``--batch-size 1 8`` for ``--batch-size 1 --batch-size 8``."""

import click


class SpreadCommand(click.Command):
    """A command without arguments whose repeatable options take several values at once."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the flag before each further value, then parse as usual."""
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
