#!/usr/bin/env bash
# Install the Debian packages that are missing; nothing to do is silent and needs no rights.
set -euo pipefail
missing=()
for p in "$@"; do dpkg-query -W -f='${db:Status-Abbrev}' "$p" 2>/dev/null | grep -q '^ii' || missing+=("$p"); done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing ${missing[*]}"
run=(); [ "$(id -u)" = 0 ] || run=(sudo)
"${run[@]}" apt-get update -q >/dev/null
DEBIAN_FRONTEND=noninteractive "${run[@]}" apt-get install -yq --no-install-recommends "${missing[@]}" >/dev/null
