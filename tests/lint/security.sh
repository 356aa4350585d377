#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Each of the 22 rows of siu/SECURITY.md names a test that exists, or says that it is open.
set -eu
cd "${1:-$(dirname "$0")/../..}"
[ -f siu/SECURITY.md ] || exit 0
bad=0
complain() {
	echo "siu/SECURITY.md: $*" >&2
	bad=1
}

rows=0
while IFS='|' read -r _ number _ control tests _; do
	rows=$((rows + 1))
	[ "$number" -eq "$rows" ] || complain "row $number where $rows belongs"
	names=$(grep -o '`[^`]*`' <<<"$tests" | tr -d '`' || true)
	[ -n "$names" ] || [[ $control == *'**open**'* ]] || complain "row $rows has no test and is not open"
	for name in $names; do
		case $name in
		*::*) grep -q "^def ${name#*::}(" "tests/integration/${name%%::*}.py" 2>/dev/null ;;
		unit/*) [ -f "tests/$name" ] ;;
		*) [ -f "$name" ] ;;
		esac || complain "row $rows: there is no $name"
	done
done < <(grep -E '^\| +[0-9]+ \|' siu/SECURITY.md)
[ "$rows" = 22 ] || complain "$rows rows, not 22"
exit $bad
