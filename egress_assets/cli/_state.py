"""What the verbs of one invocation share: is JSON wanted, which catalog, which platform."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from egress_assets.engine.catalog.models import Catalog
    from egress_assets.engine.platform import Platform


@dataclass(slots=True)
class State:
    """One invocation. `signal` is the number of the one that ended it, 0 when none did."""

    json: bool = False
    catalog_folder: Path | None = None
    signal: int = 0
    _platform: list[Platform] = field(default_factory=list)

    def log(self, *, verbose: bool) -> None:
        """Warnings of the engine, or all it says, to stderr; stdout is for results."""
        logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
        logging.getLogger("egress_assets").setLevel(logging.INFO if verbose else logging.WARNING)

    def load_catalog(self) -> Catalog:
        from egress_assets.engine.catalog.loader import load_catalog

        return load_catalog(self.catalog_folder)

    def platform(self) -> Platform:
        """Opened once. Connects to nothing."""
        if not self._platform:
            from egress_assets.engine.endpoints import open_platform

            self._platform.append(open_platform(self.load_catalog()))
        return self._platform[0]
