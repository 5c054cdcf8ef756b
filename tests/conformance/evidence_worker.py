"""A process of its own over a real store: `evidence_worker.py VERB JSON` with the store's settings on stdin.

materialise {content, position, rounds, die}: position 0 = the clock as the input is read; `die` = SIGKILL itself before
its n-th request.
deaths {}: materialise in forks that die before request 0, 1, 2, ... until one lives, each over a truth of its own; tell
what each left, a line each.
ledger {run, receipts}: put so many receipts, appending after each.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from hashlib import sha256

from egress_assets.engine.errors import EgressError
from egress_assets.engine.evidence import driver
from egress_assets.engine.evidence.driver import Evidence
from egress_assets.engine.evidence.proofs import Receipt
from egress_assets.engine.evidence.records import Draft, ObjectRecord, Pointer, Position, TableRecord, canonical
from egress_assets.engine.layout import dump_unit, part_key, receipt_key
from egress_assets.engine.stores import Store, open_store
from egress_assets.engine.stores.settings import StoreSettings

UNIT, DATE, TABLES = dump_unit("shop"), "2026-11-20", ("public.a", "public.b")
left = -1  # requests before this process kills itself; negative: it lives


def step() -> None:
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1


def draft(data: Store, attempt: str, content: str, position: int) -> Draft:
    """Both tables with the same content, so that a reader can see a mixture."""
    tables = {}
    for table in TABLES:
        step()
        key = part_key(UNIT, DATE, attempt, table=table, part=0, suffix="csv")
        body = f"{table} {content}".encode()
        data.put(key, body)
        tables[table] = TableRecord((ObjectRecord(key, len(body), sha256(body).hexdigest()),), content)
    return Draft(tables, Position("as_of", position), str(position), "", data.name)


def opened(settings: StoreSettings) -> tuple[Evidence, Store]:
    """Evidence and bytes, side by side under the prefix; no connection is open yet."""
    stores = [
        open_store(settings.model_copy(update={"prefix": f"{settings.prefix}/{n}"})) for n in ("evidence", "bytes")
    ]
    return Evidence(stores[0]), stores[1]


def materialise(settings: StoreSettings, content: str, position: int, rounds: int = 1, die: int = -1) -> None:
    global left
    left = die
    perform = driver.perform
    driver.perform = lambda *request: (step(), perform(*request))[1]
    evidence, data = opened(settings)
    for n in range(rounds):

        def work(_base: Pointer | None, attempt: str, n: int = n) -> Draft:
            return draft(data, attempt, f"{content}{n}", position or time.time_ns() // 1000)

        try:
            print(evidence.materialise(UNIT, DATE, work, data).how)
        except EgressError as error:
            print(error.code)


def deaths(settings: StoreSettings) -> None:
    for die in range(100):
        place = settings.model_copy(update={"prefix": f"{settings.prefix}/{die}"})
        forked(lambda at=place: materialise(at, "before", 1))
        status = forked(lambda at=place, n=die: materialise(at, "after", 2, die=n))
        forked(lambda at=place, died=status: tell(at, died))
        if status == 0:
            return


def forked(work: Callable[[], None]) -> int:
    """The exit code of a fork; this process never has a connection that two forks could share."""
    pid = os.fork()
    if not pid:
        work()
        sys.stdout.flush()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def tell(settings: StoreSettings, status: int) -> None:
    evidence, data = opened(settings)
    results = list(evidence.verify(UNIT, DATE, data))
    contents = [b"".join(data.get(result.key)).decode().split()[1] for result in results]
    print(json.dumps({"status": status, "statuses": [r.status for r in results], "contents": contents}))


def ledger(settings: StoreSettings, run: str, receipts: int) -> None:
    evidence, _ = opened(settings)
    for n in range(receipts):
        identity = sha256(f"{run} {n}".encode()).hexdigest()
        receipt = Receipt(identity, run, "sent", "acme", "p", (DATE, 1), f"{run}-{n}", "x", 0, 0, 0)
        evidence.store.put_if(receipt_key(DATE, identity), canonical(receipt.to_json()), etag=None)
        evidence.append_ledger(DATE, run=run)


if __name__ == "__main__":
    given = StoreSettings.model_validate_json(sys.stdin.read())
    {"materialise": materialise, "deaths": deaths, "ledger": ledger}[sys.argv[1]](given, **json.loads(sys.argv[2]))
