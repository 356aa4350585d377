#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every source file names its licence in its first three lines: spdx.sh [ROOT].
set -eu
cd "${1:-$(dirname "$0")/../..}"

bad=0
while read -r file; do
	head -n 3 "$file" | grep -q 'SPDX-License-Identifier: BSD-3-Clause' || {
		echo "$file: no SPDX-License-Identifier line"
		bad=1
	}
done < <(find lib siu dataplane control tests perf \
	\( -name '*.[ch]' -o -name '*.py' -o -name '*.sh' -o -name meson.build \) 2>/dev/null | sort)
exit $bad
