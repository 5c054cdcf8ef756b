#!/usr/bin/env bash
# The demo as a new user meets it: from no sandbox at all, then once more, when nothing may be transferred again.
set -euo pipefail
cd "$(dirname "$0")/.."
.venv/bin/egress sandbox stop >/dev/null 2>&1 || true
rm -rf .egress
out=$(mktemp); trap 'rm -f "$out"; .venv/bin/egress sandbox stop >/dev/null 2>&1 || true' EXIT
for turn in first second; do
  began=$SECONDS
  make --no-print-directory demo | tee "$out"
  took=$((SECONDS - began))
  echo "demo, $turn run: $took s"
  if [ "$turn" = second ]; then
    grep -q "nothing was transferred" "$out" || { echo "the second demo transferred something" >&2; exit 1; }
    [ "$took" -le 30 ] || { echo "the second demo took $took s, 30 are allowed" >&2; exit 1; }
  else
    [ "$took" -le 120 ] || { echo "the first demo took $took s without installs" >&2; exit 1; }
  fi
done
