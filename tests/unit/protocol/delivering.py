"""Runs of one recipient over the real generators: idempotent (by key), head (can be asked, refuses late requests) or
write-only. A delivery is named <date>/<destination>/<content>#<era> here, whatever its identity's digest is.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from functools import partial
from typing import Any

from egress_assets.engine.errors import EgressError
from egress_assets.engine.evidence import deliver, ledger
from egress_assets.engine.evidence.proofs import Claim, LedgerEntry, Receipt
from egress_assets.engine.evidence.records import canonical, digest
from egress_assets.engine.layout import RECEIPTS, ledger_key, receipt_key

from .world import WRITE, Step, Stored, World


class Deliver(World):
    def __init__(self, scenario: dict[str, Any]) -> None:
        super().__init__(scenario)
        self.runs: dict[str, dict[str, Any]] = scenario["runs"]
        self.processes = (*self.runs, *scenario.get("also", ()))
        self.kind, self.policy = scenario["kind"], scenario.get("policy", "hold")
        self.received: list[str] = []
        self.keys: set[str] = set()  # idempotency keys that the recipient has seen
        self.at: dict[str, tuple[str, str, int]] = {}  # destination -> content, identity, order of its release
        self.resent: set[tuple[str, str]] = set()  # ghost: (name, process) resolved by the policy `resend`
        self.allowed: set[tuple[str, str]] = set()  # ghost: (destination, process) that the policy let resend
        self.eras: dict[tuple[str, str], int] = {}  # ghost: (process, destination) -> era of its claim
        self.slots: dict[str, tuple[tuple[str, str], int]] = {}  # ghost: destination -> what it is claimed for, its era
        self.rotten = False
        if scenario.get("yesterday"):
            self.yesterday()
        if scenario.get("left"):
            self.left(**scenario["left"])

    def yesterday(self) -> None:
        d = self.delivery("y", release(0), "f", {})
        identity = deliver.identity_of(d, 0)
        self.received, self.at, self.keys = ["D1/f/x#0"], {"f": ("x", identity, 0)}, {identity}
        body = canonical(Receipt(identity, "y", "sent", "r", "p", d.order, "f", "x", 0, 0, 0).to_json())
        self.keep(receipt_key("D1", identity), body)
        entry = LedgerEntry(0, "", {f"D1/{identity}": digest(body)}, (), "y", "")
        self.keep(ledger_key(0), canonical(entry.to_json()))

    def left(self, age: int, sent: str) -> None:
        """A sender died before this begins: its claim, what it sent, what may still land."""
        since, d = self.now - age, self.delivery("old", release(), "f", {})
        identity = deliver.identity_of(d, 0)
        claim = Claim(identity, 0, d.order, "old", "", 0, False, deliver.TTL)
        self.keep(deliver.slot_of(d), canonical(claim.to_json()), since)
        self.slots["f"] = (d.date, "x"), 0
        if sent == "received":
            self.received, self.at, self.keys = ["D1/f/x#0"], {"f": ("x", identity, 1)}, {identity}
        else:
            send = partial(self.receive, "old", "f", ("x", "D1/f/x#0"), identity, since + deliver.TTL, 1)
            self.in_flight = [Step("old's send", send)]

    # ------------------------------------------------------------------------------------------------------ processes
    def spawn(self, name: str) -> Generator[Any, Any, Any]:
        return self.run(name, self.runs[name]) if name in self.runs else self.event(name)

    def event(self, name: str) -> Generator[Any, Any, Any]:
        effect = {"policy flips": ("policy", "resend"), "rot": ("rotten", True)}[name]
        yield Step(name, lambda: setattr(self, *effect))

    def run(self, me: str, rel: dict[str, Any]) -> Generator[Any, Any, Any]:
        yield from ledger.anchor(rel["date"])
        for to in rel["files"]:
            try:
                ended = yield from deliver.deliver(self.delivery(me, rel, to, {}))
                self.trace.append(f"{me} REPORTS {to} {ended.ending} {ended.how or ''}")
            except EgressError as error:
                self.trace.append(f"{me} fails: {error}")
                return
        yield from ledger.append(me, rel["date"])

    def delivery(self, me: str, rel: dict[str, Any], to: str, checked: dict[str, str]) -> deliver.Delivery:
        return deliver.Delivery(
            recipient="r", pipeline="p", order=(rel["date"], rel["order"]), destination=to, sha256=rel["files"][to],
            bytes=0, knows=self.kind, by=me, policy=partial(self.ask_policy, me, to),
            check_bytes=partial(self.check, rel["files"][to], checked),
            send=partial(self.send, me, rel, to, checked), ask=partial(self.ask, to),
        )  # fmt: skip

    def ask_policy(self, me: str, to: str) -> Generator[Any, Any, str]:
        said = yield Step("read the policy", lambda: self.policy)
        if said == "resend":
            self.allowed.add((to, me))
        return said

    def check(self, sha: str, checked: dict[str, str]) -> Generator[Any, Any, bool]:
        checked["content"] = yield Step(f"read {sha}", lambda: "rotten" if self.rotten else sha)
        return checked["content"] == sha

    def ask(self, to: str) -> Generator[Any, Any, str | None]:
        there = yield Step(f"HEAD {to}", lambda: self.at.get(to))
        return there and there[1]

    def send(
        self, me: str, rel: dict[str, Any], to: str, checked: dict[str, str], identity: str, not_after: int
    ) -> Generator[Any, Any, deliver.Sent]:
        content = checked.get("content", "rotten" if self.rotten else rel["files"][to])
        name = f"{rel['date']}/{to}/{rel['files'][to]}#{self.eras[me, to]}"
        if (to, me) in self.allowed:
            self.resent.add((name, me))
        effect = partial(self.receive, me, to, (content, name), identity, not_after, rel["order"])
        answer = yield Step(f"send {name}", effect, (*WRITE, "refuse"))
        if answer == "refused":
            self.resent.discard((name, me))
        return deliver.Sent(answer)

    # -------------------------------------------------------------------------------------------------------- effects
    def receive(self, me: str, to: str, sent: tuple[str, str], identity: str, not_after: int, order: int) -> str:
        content, name = sent
        if self.kind == "head" and self.now > not_after:
            return "refused"
        self.require(content == name.split("/")[2].split("#")[0], "bytes were sent that no Release names")
        if self.kind == "idempotent" and identity in self.keys:
            return "ok"
        allowed = sum(n == name for n, _ in self.resent) if self.kind == "write-only" else 0
        self.require(self.received.count(name) <= allowed, f"{self.kind}: delivered twice")
        newer = order >= self.at.get(to, ("", "", 0))[2]
        self.require(self.kind != "head" or newer, "an older release overwrote a newer")
        self.received.append(name)
        self.keys.add(identity)
        self.at[to] = content, identity, order
        return "ok"

    # ----------------------------------------------------------------------------------------------------- properties
    def landed(self, key: str, before: Stored | None, after: Stored) -> None:
        if key.startswith("claims/"):
            self.claimed(Claim.parse(after.body))
        if key.startswith(RECEIPTS):
            self.require(
                self.name_of(Receipt.parse(after.body)) in self.received, "a receipt for what was never received"
            )
        if key.startswith("ledger/"):
            self.chained(int(key.removeprefix("ledger/")), before, LedgerEntry.parse(after.body))

    def claimed(self, claim: Claim) -> None:
        """The era as it should be: one up whenever the content of a destination changes."""
        to = self.destination_of(claim)
        content = claim.order[0], self.runs.get(claim.owner, self.newest)["files"][to]
        was, era = self.slots.get(to, (content, 0))
        self.slots[to] = content, era + (was != content)
        self.eras[claim.owner, to] = self.slots[to][1]

    def destination_of(self, claim: Claim) -> str:
        """Of a run that claims; the slot's key has only a digest."""
        rel = self.runs.get(claim.owner, self.newest)
        names = {deliver.identity_of(self.delivery(claim.owner, rel, to, {}), claim.era): to for to in rel["files"]}
        return names[claim.identity]

    @staticmethod
    def name_of(receipt: Receipt) -> str:
        return f"{receipt.date}/{receipt.destination}/{receipt.sha256}#{receipt.era}"

    def chained(self, sequence: int, before: Stored | None, entry: LedgerEntry) -> None:
        earlier = [self.evidence.get(ledger_key(n)) for n in range(sequence)]
        self.require(all(earlier) and before is None, "the ledger has a gap or a fork")
        bodies = [e.body for e in earlier if e]
        self.require(entry.previous == (digest(bodies[-1]) if bodies else ""), "the ledger chain is broken")
        covered = {r for body in bodies for r in LedgerEntry.parse(body).receipts}
        self.require(not covered & set(entry.receipts), "a receipt is covered twice")

    @property
    def newest(self) -> dict[str, Any]:
        return max(self.runs.values(), key=lambda r: r["order"])

    def recover(self) -> Iterable[tuple[str, Generator[Any, Any, Any]]]:
        self.rotten = False
        yield "z1", self.run("z1", self.newest)
        yield "z2", self.run("z2", self.newest)

    def finally_(self) -> None:
        receipts = {k.removeprefix(RECEIPTS): Receipt.parse(e.body)
                    for k, e in self.evidence.items() if k.startswith(RECEIPTS)}  # fmt: skip
        names = [self.name_of(r) for r in receipts.values()]
        for to, sha in self.newest["files"].items():
            base = f"{self.newest['date']}/{to}/{sha}#"
            receipt = any(n.startswith(base) for n in names)
            held = self.kind == "write-only" and self.policy == "hold" and not receipt
            self.require(
                held or any(r.startswith(base) for r in self.received), "an object was never delivered nor held"
            )
            self.require(held or receipt, "delivered, but no receipt after a rerun")
            self.require(self.kind != "head" or self.at[to][0] == sha, "the recipient is left with another content")
        entries = [LedgerEntry.parse(e.body) for k, e in self.evidence.items() if k.startswith("ledger/")]
        self.require(set(receipts) == {r for e in entries for r in e.receipts}, "a receipt is in no ledger entry")


def release(order: int = 1, date: str = "D1", retry: int = 1, **files: str) -> dict[str, Any]:
    return {"order": order, "date": date, "files": files or {"f": "x"}, "retry": retry}
