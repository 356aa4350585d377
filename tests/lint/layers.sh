#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# The arrows between the folders, read from the include lines: layers.sh [ROOT].
# A folder may include itself and what is named here; everything else is a wrong arrow.
set -eu
cd "${1:-$(dirname "$0")/../..}"

allowed() {
	case $1 in
	lib) echo lib ;;
	siu) echo siu lib ;;
	dataplane/esp) echo dataplane/esp lib ;;
	dataplane) echo dataplane dataplane/esp lib ;;
	control/gw) echo control/gw dataplane dataplane/esp siu lib ;;
	control/ha) echo control/ha siu lib ;;
	control/mn) echo control/mn dataplane/esp lib ;;
	control/ctl) echo control/ctl lib ;;
	esac
}
may_use_dpdk() {
	[ "$1" = dataplane ] || [ "$1" = control/gw ]
}

bad=0
complain() {
	echo "$1"
	bad=1
}
for folder in lib siu dataplane/esp dataplane control/gw control/ha control/mn control/ctl; do
	arrows=" $(allowed $folder) "
	for file in "$folder"/*.[ch]; do
		[ -e "$file" ] || continue
		while IFS=: read -r line include; do
			case $include in
			*'"'*)
				name=${include#*\"}
				name=${name%%\"*}
				case $name in
				*/*) ;;
				*)
					complain "$file:$line: \"$name\": include with the folder's name"
					continue
					;;
				esac
				case $arrows in
				*" ${name%/*} "*) ;;
				*) complain "$file:$line: $folder may not include \"$name\"" ;;
				esac
				;;
			*'<rte_'*)
				may_use_dpdk $folder ||
					complain "$file:$line: DPDK is for dataplane/ and control/gw/ alone"
				;;
			esac
		done < <(grep -n '^[[:space:]]*#[[:space:]]*include' "$file" || true)
	done
done
exit $bad
