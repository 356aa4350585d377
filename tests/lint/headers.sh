#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every header compiles alone: headers.sh [ROOT].
set -eu
cd "${1:-$(dirname "$0")/../..}"

flags="-std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Werror -I."
# libdpdk's own -march is older than the project's: ours comes last.
dpdk="$(pkg-config --cflags libdpdk | sed 's/-I/-isystem /g') -march=x86-64-v3"
bad=0
while read -r header; do
	printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
		# shellcheck disable=SC2086
		${CC:-cc} $flags $dpdk -fsyntax-only -x c - || {
		echo "$header: does not compile alone"
		bad=1
	}
done < <(find lib siu dataplane control tests perf -name '*.h' 2>/dev/null | sort)
exit $bad
