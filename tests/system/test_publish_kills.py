"""`publish` when runs die, endpoints fail or two runs meet: no flag is ever above two versions."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from egress_assets.engine.errors import OutcomeUnknown, StoreUnavailable, Superseded
from egress_assets.engine.evidence import turns
from egress_assets.engine.layout import publishing_key
from egress_assets.engine.mirror.run import run
from egress_assets.engine.platform import Platform
from tests.platforms import DATE, DUMP, NOW, STORES, A, B, Made, MemoryStore, materialise, memory
from tests.publishes import (
    CHANGED,
    CUSTOMERS,
    DESCRIBED,
    FLAG,
    ORDERS,
    UNIT,
    lying,
    made,
    published,
    require_no_mixture,
)


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setenv("EGRESS_NOW", NOW)


# ------------------------------------------------------------------------------------------------------------ two runs
def take(p: Platform, *, generation: int, version: str = "another") -> None:
    """Another attempt takes the turn, with input of that generation."""
    now = turns.holder(p.evidence, UNIT, DATE)
    assert now
    line = now.position.line
    mine = turns.Turn(
        UNIT, DATE, "20261121T030000000-ffffffff", type(now.position)(line, generation), version, now.keys, now.flags
    )
    turns.take(p.evidence, mine, ended_by="")


def test_whoever_loses_the_turn_stops_and_leaves_no_flag_above_two_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    p = made()
    inside, raced = memory(p, "inside"), []

    def during(key: str) -> None:
        if key == ORDERS and not raced:
            raced.append(key)
            take(p, generation=1)
            inside.put(FLAG, b"the other's")

    monkeypatch.setattr(MemoryStore, "upload", _after(MemoryStore.upload, during))
    with pytest.raises(OutcomeUnknown, match="no longer by") as caught:
        run(p, "shop_files", DATE)
    assert caught.value.retryable
    assert FLAG not in lying(p)
    run(p, "shop_files", DATE)  # the next one completes
    assert list(lying(p)) == [FLAG, CUSTOMERS, ORDERS]


def test_a_flag_of_the_same_version_is_left_to_who_took_over(monkeypatch: pytest.MonkeyPatch) -> None:
    p = made()
    inside, raced = memory(p, "inside"), []

    def during(key: str) -> None:
        now = turns.holder(p.evidence, UNIT, DATE)
        if key == ORDERS and not raced and now:
            raced.append(key)
            take(p, generation=1, version=now.version)
            inside.put(FLAG, b"the other's")

    monkeypatch.setattr(MemoryStore, "upload", _after(MemoryStore.upload, during))
    with pytest.raises(OutcomeUnknown):
        run(p, "shop_files", DATE)
    assert lying(p)[FLAG] == b"the other's"


def test_older_input_never_replaces_newer() -> None:
    p = made()
    run(p, "shop_files", DATE)
    take(p, generation=7)
    materialise(p, DUMP, Made(CHANGED))
    before = lying(p)
    with pytest.raises(Superseded, match="from newer input"):
        run(p, "shop_files", DATE)
    assert lying(p) == before


def _after(upload: Callable[..., Any], then: Callable[[str], None]) -> Callable[..., Any]:
    def uploaded(store: MemoryStore, key: str, *args: Any, **kwargs: Any) -> Any:
        done = upload(store, key, *args, **kwargs)
        then(key)
        return done

    return uploaded


# ---------------------------------------------------------------------------------------------------- kills and faults
class _Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


@dataclass(slots=True)
class Doom:
    """Kills at the n-th write of all stores, before or after it took effect; a dead process asks nothing more."""

    at: int
    after: bool
    dead: bool = False
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def writes(self, do: Callable[[], Any]) -> Any:
        if self.dead:
            raise _Killed
        is_last = next(self.numbers) == self.at  # of any thread
        self.dead = self.dead or (is_last and not self.after)
        done = None if self.dead else do()
        self.dead = self.dead or is_last
        if self.dead:
            raise _Killed
        return done


@dataclass(slots=True)
class Mortal(MemoryStore):
    doom: Doom | None = field(default=None)

    def _doomed(self, do: Callable[[], Any]) -> Any:
        return self.doom.writes(do) if self.doom else do()

    def put(self, key: str, body: bytes, **kwargs: Any) -> Any:
        return self._doomed(lambda: MemoryStore.put(self, key, body, **kwargs))

    def upload(self, key: str, chunks: Any, **kwargs: Any) -> Any:
        return self._doomed(lambda: MemoryStore.upload(self, key, chunks, **kwargs))

    def put_if(self, key: str, body: bytes, *, etag: str | None) -> Any:
        return self._doomed(lambda: MemoryStore.put_if(self, key, body, etag=etag))

    def delete(self, key: str) -> None:
        self._doomed(lambda: MemoryStore.delete(self, key))

    def read(self, key: str) -> Any:
        if self.doom and self.doom.dead:
            raise _Killed
        return MemoryStore.read(self, key)

    def head(self, key: str) -> Any:
        if self.doom and self.doom.dead:
            raise _Killed
        return MemoryStore.head(self, key)


def mortal(doom: Doom | None, before: Platform | None = None, **changed: Any) -> Platform:
    stores: dict[str, Any] = {n: Mortal(n, zone, bucket=n, doom=doom) for n, zone in STORES.items()}
    for name in STORES if before else ():
        stores[name].objects = memory(before, name).objects  # type: ignore[arg-type]
    return published(stores, **changed)


def whole(p: Platform, rows: dict[str, bytes]) -> bool:
    found = lying(p)
    return {A: gzip.decompress(found[CUSTOMERS]), B: gzip.decompress(found[ORDERS])} == rows


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_write_leaves_no_flag_or_a_true_one_and_the_next_start_completes(after: bool) -> None:
    kills = 0
    for at in range(1, 100):
        p = mortal(None)
        materialise(p, DUMP)
        run(p, "shop_files", DATE)
        materialise(p, DUMP, Made(CHANGED))
        doom = Doom(at, after)
        try:
            run(mortal(doom, p), "shop_files", DATE)
        except _Killed:
            kills += 1
        else:
            break
        require_no_mixture(lying(p))
        result = run(p, "shop_files", DATE)
        assert result.how in ("moved", "unchanged", "nothing")
        assert whole(p, CHANGED)
        assert FLAG in lying(p)
        assert run(p, "shop_files", DATE).how == "nothing"
    assert kills >= 7  # note, turn, flag down, two objects, flag up, manifest, pointer


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_write_leaves_no_flag_above_rows_and_schemas_of_two_versions(after: bool) -> None:
    kills = 0
    for at in range(1, 100):
        p = mortal(None, **DESCRIBED)
        materialise(p, DUMP, Made(sidecars=True))
        run(p, "shop_files", DATE)
        materialise(p, DUMP, Made(CHANGED, sidecars=True))
        try:
            run(mortal(Doom(at, after), p, **DESCRIBED), "shop_files", DATE)
        except _Killed:
            kills += 1
        else:
            break
        require_no_mixture(lying(p))
        run(p, "shop_files", DATE)
        require_no_mixture(lying(p))
        assert [len(lying(p)), FLAG in lying(p)] == [5, True]
        assert run(p, "shop_files", DATE).how == "nothing"
    assert kills >= 9  # as above, and two schemas


@pytest.mark.parametrize("method", ["upload", "delete", "put"])
def test_an_endpoint_that_fails_leaves_no_flag_above_half_of_it(method: str) -> None:
    p = made()
    run(p, "shop_files", DATE)
    materialise(p, DUMP, Made(CHANGED))
    inside = memory(p, "inside")
    inside.failing[method, {"upload": ORDERS}.get(method, FLAG)] = StoreUnavailable("down")
    with pytest.raises(StoreUnavailable):
        run(p, "shop_files", DATE)
    require_no_mixture(lying(p))
    inside.failing.clear()
    run(p, "shop_files", DATE)
    assert whole(p, CHANGED)


def test_the_turn_stays_in_evidence_and_says_no_more_than_names() -> None:
    p = made()
    run(p, "shop_files", DATE)
    body = json.loads(memory(p, "evidence").objects[publishing_key(UNIT, DATE)].body)
    assert (body["keys"], body["flags"]) == ([CUSTOMERS, ORDERS], [FLAG])
