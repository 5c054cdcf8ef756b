"""Every scenario by its name, with the constants in ticks."""

from __future__ import annotations

import importlib
from typing import Any

from .delivering import Deliver, release
from .materialising import Materialise
from .world import SKEW, World

TWO, D2 = {"A": release(), "B": release(retry=2)}, {"A": release(date="D2"), "B": release(date="D2")}
T1 = frozenset({"t1"})
SCENARIOS: dict[str, tuple[type[World], dict[str, Any]]] = {
    "first": (Materialise, {"processes": ("A", "B", "sweeper"), "source": "XY", "skew": True}),
    "again": (Materialise, {"processes": ("A", "B", "sweeper"), "source": "XY", "pointer": "X"}),
    "returns": (Materialise, {"processes": ("A", "B"), "source": "YX", "pointer": "X"}),
    "three": (Materialise, {"processes": ("A", "B", "C"), "source": "XYZ"}),
    "three in a row": (Materialise, {"processes": ("A", "B", "C"), "source": "XYZ", "small": True}),
    "reading": (Materialise, {"processes": ("A", "reader", "sweeper"), "source": "Y", "pointer": "X"}),
    "expired": (Materialise, {"processes": ("expiry", "A", "reader"), "source": "X", "pointer": "X"}),
    "gone": (Materialise, {"processes": ("reader", "expiry", "A"), "source": "Y", "pointer": "X"}),
    "rot": (Materialise, {"processes": ("rot", "A", "reader"), "source": "X", "pointer": "X"}),
    "a table beside the whole": (
        Materialise,
        {"processes": ("A", "B", "sweeper"), "source": ("XP", "YQ"), "pointer": "WO", "tables": {"B": T1}},
    ),
    "two halves": (
        Materialise,
        {"processes": ("A", "B", "reader"), "source": ("XP", "YQ"), "pointer": "WO",
         "tables": {"A": frozenset({"t0"}), "B": T1}},
    ),
    "one table is equal": (
        Materialise,
        {"processes": ("A", "B", "reader"), "source": ("WQ", "XQ"), "pointer": "WO"},
    ),
    "a part of a part": (
        Materialise,
        {"processes": ("A", "B"), "source": ("XP", "YQ"), "pointer": "WO",
         "tables": {"A": frozenset({"t0", "t1"}), "B": T1}},
    ),
    "by key": (Deliver, {"kind": "idempotent", "runs": TWO, "skew": True}),
    "by HEAD": (Deliver, {"kind": "head", "runs": TWO, "skew": True}),
    "fast clock": (Deliver, {"kind": "head", "runs": TWO, "skews": {"A": SKEW, "B": SKEW},
                             "left": {"age": 8, "sent": "late"}}),
    "doubt": (Deliver, {"kind": "write-only", "policy": "resend", "runs": TWO,
                        "left": {"age": 99, "sent": "received"}}),
    "hold": (Deliver, {"kind": "write-only", "runs": TWO, "skew": True}),
    "resend": (Deliver, {"kind": "write-only", "policy": "resend", "runs": TWO | {"C": release()}}),
    "flip": (Deliver, {"kind": "write-only", "runs": TWO, "also": ("policy flips",)}),
    "newer": (Deliver, {"kind": "head", "runs": {"A": release(), "B": release(2, f="y")}}),
    "x y x": (Deliver, {"kind": "head", "runs": {"A": release(), "B": release(2, f="y"), "C": release(3)}}),
    "next day": (Deliver, {"kind": "head", "runs": D2, "yesterday": True}),
    "next day, by key": (Deliver, {"kind": "idempotent", "runs": D2, "yesterday": True}),
    "source rots": (Deliver, {"kind": "head", "runs": TWO, "also": ("rot",)}),
    "two files": (Deliver, {"kind": "head", "runs": {"A": release(f="x", g="y"), "B": release(f="x", g="y"),
                                                     "C": release()}}),
}  # fmt: skip


def build(name: str) -> World:
    part, scenario = SCENARIOS[name]
    return part(scenario)


def real(target: str) -> tuple[Any, str]:
    """(module, name) of `module.name` within the evidence package."""
    module, _, name = target.partition(".")
    return importlib.import_module(f"egress_assets.engine.evidence.{module}"), name


TICKS = {  # constant of the real code -> its value in ticks
    "conditional.TRIES": 2,
    "sweep.STALE": 10,
    "sweep.READER_LIMIT": 10,
    "deliver.TTL": 20,
    "deliver.MARGIN": 8,
    "ledger.ROUNDS": 4,
}
