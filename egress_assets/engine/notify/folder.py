"""Messages as files, where nobody is to be told: the sandbox, whose catalog may name real people."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from egress_assets.engine.notify.mail import letter
from egress_assets.engine.notify.words import Message

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Folder:
    """A channel. Each message is `<id>.eml`, which every mail program opens."""

    folder: Path

    def send(self, message: Message) -> None:
        """Write a message, over the same one of an earlier try."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{message.id}.eml"
        path.write_bytes(letter(message, "egress@sandbox.invalid", ("you@sandbox.invalid",)).as_bytes())
        logger.info("message for nobody in %s: %s", path, message.subject)
