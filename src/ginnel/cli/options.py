"""What the options of several commands share.

Room: cli.
"""

from __future__ import annotations

import click

socket_option = click.option("--socket", metavar="PATH", help="The daemon's socket (or GINNEL_SOCKET).")


class GoFlags(click.Command):
    """Takes switches in the spelling of Go's flag package too, which tailscale's users type: `--peers=false`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spelled: dict[str, list[str]] = {}
        for option in self.params:
            if isinstance(option, click.Option) and option.is_bool_flag:
                for name in option.opts:
                    spelled |= {f"{name}=true": [name], f"{name}=false": option.secondary_opts[:1]}
        return super().parse_args(ctx, [word for said in args for word in spelled.get(said, [said])])
