#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Every C file is as clang-format (Debian 12's, 14) would write it: format.sh [ROOT].
set -eu
cd "${1:-$(dirname "$0")/../..}"

command -v clang-format >/dev/null || {
	echo "clang-format is not installed: nothing was checked"
	exit 77
}
find lib siu dataplane control tests perf -name '*.[ch]' -print0 2>/dev/null |
	xargs -0 -r clang-format --dry-run -Werror --style=file
