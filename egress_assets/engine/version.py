"""Which Egress this is, as evidence and certificates name it. Equal to pyproject.toml's."""

VERSION = "0.1.0"
