"""Keys that some stores bend: tried on a key of our own before an object is written under one of them.

SeaweedFS keeps `a//b` as `a/b`, makes a slash of a backslash, and keeps `a/` without its content; proxies resolve `..`.
Looking afterwards is too late: by then the object at the other name is overwritten. A sort of oddity costs five small
requests a run, and only when such a key comes.

Where folders are real, an object `a` and one `a/b` share an entry: SeaweedFS loses one of two that are written at the
same moment (20 pairs of 800, 4.48), each acknowledged. `Nesting` keeps them apart.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from dataclasses import dataclass, field

from egress_assets.engine.errors import ObjectConflict, StoreError, StoreUnavailable
from egress_assets.engine.layout import PROBES
from egress_assets.engine.stores import Store

logger = logging.getLogger(__name__)

_BODY = b"egress asks whether this key is kept"


@dataclass(frozen=True, slots=True)
class _Oddity:
    """`probe` is a key with it; a store that bends keys makes another key of it that begins with `{}` as well."""

    what: str
    pattern: re.Pattern[str]
    probe: str
    of_empty: bool = True  # whether it also matters for an object without content


_ODDITIES = (
    _Oddity("a leading slash", re.compile(r"\A/"), "/{}"),
    _Oddity("two slashes in a row", re.compile(r"//"), "{}//x"),
    _Oddity("a slash at its end and content", re.compile(r"/\Z"), "{}/", of_empty=False),
    _Oddity("a backslash", re.compile(r"\\"), "{}\\x"),
    _Oddity("a line break", re.compile(r"\n"), "{}\nx"),
    _Oddity("a step `.` or `..`", re.compile(r"(?:\A|/)\.\.?(?:/|\Z)"), "{}/a/../x"),
)


@dataclass(slots=True)
class _Above:
    """An object above others; `settled` once its copy has ended."""

    key: str
    settled: bool = False

    def holds(self, key: str) -> bool:
        return self.key.endswith("/") or key.startswith("/", len(self.key))


@dataclass(slots=True)
class Nesting:
    """Which of sorted keys lies beneath another object whose copy may still be under way. Memory: one key's parents."""

    _above: list[_Above] = field(default_factory=list)

    def waits(self, key: str) -> bool:
        """To be asked for every key, in order; whoever is told True waits for all copies before it."""
        while self._above and not key.startswith(self._above[-1].key):
            self._above.pop()
        unsettled = [above for above in self._above if not above.settled and above.holds(key)]
        self._above.append(_Above(key))
        for above in unsettled:
            above.settled = True
        return bool(unsettled)


@dataclass(slots=True)
class OddKeys:
    """What one destination does with odd keys; asked once each. Shared by the threads of a run."""

    store: Store
    _kept: dict[str, bool] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def require(self, key: str, size: int) -> None:
        """Raises ObjectConflict for a key that the store bends or refuses, StoreUnavailable when it can't be asked."""
        for oddity in _ODDITIES:
            if oddity.pattern.search(key) and (size or oddity.of_empty) and not self._keeps(oddity):
                raise ObjectConflict(
                    f"{self.store.name} does not keep {key!r}: it refuses or renames a key with {oddity.what}",
                    hint="Rename the object at its source, or mirror to another store: see docs/providers.md.",
                )

    def _keeps(self, oddity: _Oddity) -> bool:
        with self._lock:
            if oddity.what not in self._kept:
                self._kept[oddity.what] = self._try(oddity)
            return self._kept[oddity.what]

    def _try(self, oddity: _Oddity) -> bool:
        name = f"{PROBES}{secrets.token_hex(8)}"
        key = oddity.probe.format(name)
        try:
            self.store.put(key, _BODY)
            found = self.store.read(key)
            there = {listed.key for listed in self.store.list(name)}  # begins before what is bent, which is echoed
            return found is not None and found[0] == _BODY and there == ({key} if key.startswith(name) else set())
        except StoreUnavailable:
            raise
        except StoreError as error:
            logger.info("%s takes no key with %s: %s", self.store.name, oddity.what, error)
            return False
        finally:
            self._remove(key, name)

    def _remove(self, key: str, name: str) -> None:
        """Under whatever name it lies. A destination that forbids it keeps a few bytes a run."""
        try:
            for each in {key, *(listed.key for listed in self.store.list(name))}:
                self.store.delete(each)
        except StoreError as error:
            logger.info("a probe below %s stays at %s: %s", PROBES, self.store.name, error)
