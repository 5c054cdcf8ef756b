"""The tables that are dumped: mixed types of about 400 bytes a row, pgbench's accounts, and an empty one."""

from __future__ import annotations

import time
from collections.abc import Mapping

from dumping.servers import Postgres

MIXED = b"""
CREATE UNLOGGED TABLE mixed (id bigint, customer int, amount numeric(12,2), ratio double precision, at timestamptz,
                             day date, ref uuid, name text, note text, doc jsonb, active boolean, tags text[])
"""
MIXED_ROWS = b"""
INSERT INTO mixed SELECT g, g %% 100000, g * 1.37 %% 100000, sqrt(g), timestamptz '2026-01-01' + g * interval '17 s',
  date '2020-01-01' + g %% 2000, md5(g::text)::uuid, 'customer ' || md5((g * 7)::text),
  CASE WHEN g %% 5 > 0 THEN 'said "' || md5((g * 3)::text) || '", then ' || md5((g * 5)::text) || md5(g::text) END,
  jsonb_build_object('k', g, 'city', md5((g * 11)::text), 'items', jsonb_build_array(g %% 7, g %% 11, 'x')),
  g %% 3 = 0, ARRAY['red', 'b' || g %% 9, 'green, "quoted"']
FROM generate_series(1, %d) g
"""
NARROW = b"CREATE UNLOGGED TABLE narrow (aid int, bid int, abalance int, filler char(84))"
NARROW_ROWS = b"INSERT INTO narrow SELECT g, (g - 1) / 100000 + 1, 0, '' FROM generate_series(1, %d) g"
EMPTY = b"CREATE UNLOGGED TABLE nothing (id int)"


def fill(server: Postgres, rows: Mapping[str, int]) -> dict[str, int]:
    """Make the tables; bytes of each as CSV by name. Hint bits are set and pages frozen, so no read has to write."""
    began = time.monotonic()
    with server.connect() as session:
        for statement in (MIXED, NARROW, EMPTY, MIXED_ROWS % rows["mixed"], NARROW_ROWS % rows["narrow"]):
            session.execute(statement)
        session.execute("VACUUM (FREEZE, ANALYZE)")
        session.execute("CHECKPOINT")
        sizes = {name: _size(session, name) for name in rows}
    told = ", ".join(f"{name} {size / 1e6:.0f} MB as CSV" for name, size in sizes.items())
    print(f"{server.title}: {told}, made in {time.monotonic() - began:.0f} s", flush=True)
    return sizes


def _size(session, name: str) -> int:
    with session.cursor().copy(f"COPY {name} TO STDOUT (FORMAT csv)".encode()) as copy:
        return sum(len(chunk) for chunk in copy)
