"""`egress demo`"""

from __future__ import annotations

import click


@click.command("demo")
def command() -> int:
    """Run the sample datasets through every stage on the sandbox, and show what came of it.

    Starts the embedded servers, runs dump, scrub, mirror and delivery of one date through Dagster, reads everything
    again and prints the objects, a manifest, a receipt and the timings. A second run transfers nothing.
    """
    from rich.console import Console

    from egress_assets.sandbox.demo import demo

    return demo(Console(soft_wrap=True))
