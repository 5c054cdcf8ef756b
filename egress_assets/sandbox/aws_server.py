"""The process behind aws.py: `python -m egress_assets.sandbox.aws_server FOLDER PORT`.

The folder only marks whose server this is. Requests are not logged: their query strings may carry signatures.
"""

from __future__ import annotations

import logging
import sys

from moto.server import main as serve

from egress_assets.sandbox.ports import HOST


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    serve(["-H", HOST, "-p", sys.argv[2]])


if __name__ == "__main__":
    main()
