"""Many things in one run, of which some fail: the rest goes on, and the run fails at its end with a list."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

from egress_assets.engine.errors import EgressError, ObjectConflict, StoreError

logger = logging.getLogger(__name__)

_SAID = 10  # failures named in the error; the log has all
_HOPELESS = 50  # failures without a success between: an endpoint is down, and the rest need not be tried


@dataclass(slots=True)
class Failures:
    """What failed of a run's objects or files; `deed` is what should have happened to them, for example `mirrored`.

    Memory: a few messages.
    """

    deed: str
    count: int = 0
    _named: list[tuple[str, EgressError]] = field(default_factory=list)
    _permanent: EgressError | None = None
    _in_a_row: int = 0

    def add(self, name: str, error: EgressError | None) -> None:
        """Note how one of them ended; None is a success. Raises the summary at once when nothing succeeds any more."""
        if error is None:
            self._in_a_row = 0
            return
        logger.warning("not %s: %r: %s", self.deed, name, error)
        self.count += 1
        self._in_a_row += not _is_of_one_object(error)
        if len(self._named) < _SAID:
            self._named.append((name, error))
        if not error.retryable:
            self._permanent = self._permanent or error
        if self._in_a_row >= _HOPELESS:
            self.check()

    def check(self) -> None:
        """Raise one error for all, of the class of the first that no retry can help, else of the first."""
        if not self.count:
            return
        leading = self._permanent or self._named[0][1]
        named = "; ".join(f"{name!r}: {error}" for name, error in self._named)
        if self.count > len(self._named):
            named += f"; and {self.count - len(self._named)} more"
        raise type(leading)(f"not {self.deed} ({self.count}): {named}", hint=leading.hint)


def _is_of_one_object(error: EgressError) -> bool:
    """A key that the store can't hold says nothing of the next one; a folder may have hundreds of them in a row."""
    return isinstance(error, ObjectConflict) or type(error) is StoreError
