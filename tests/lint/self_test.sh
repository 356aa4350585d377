#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Plants one fault for each lint in a scratch tree and wants it found.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
bad=0

# plant NAME FILE TEXT LINT: the tree is good without FILE and bad with it.
plant() {
	local name=$1 file=$2 text=$3 lint=$4
	rm -rf "${tree:?}"/*
	cp "$here/../../.clang-format" "$tree/"
	mkdir -p "$tree"/{lib,siu,dataplane/esp,control/gw,control/ha,control/mn,control/ctl}
	printf '/* SPDX-License-Identifier: BSD-3-Clause */\n#include <stdint.h>\n' >"$tree/lib/good.h"
	"$here/$lint" "$tree" >/dev/null || {
		echo "$name: $lint finds fault with a good tree"
		bad=1
	}
	printf '%b' "$text" >"$tree/$file"
	if "$here/$lint" "$tree" >/dev/null 2>&1; then
		echo "$name: $lint did not see it"
		bad=1
	fi
}

plant "lib includes siu" lib/a.c '#include "siu/siu.h"\n' layers.sh
plant "siu includes control" siu/a.c '#include "control/ha/binding.h"\n' layers.sh
plant "data plane includes siu" dataplane/a.c '#include "siu/siu.h"\n' layers.sh
plant "esp includes data plane" dataplane/esp/a.c '#include "dataplane/node.h"\n' layers.sh
plant "node includes data plane" control/mn/a.c '#include "dataplane/node.h"\n' layers.sh
plant "home agent includes gateway" control/ha/a.h '#  include "control/gw/x.h"\n' layers.sh
plant "no folder in the include" lib/a.c '#include "good.h"\n' layers.sh
plant "DPDK in esp" dataplane/esp/a.c '#include <rte_mbuf.h>\n' layers.sh
plant "DPDK in the home agent" control/ha/a.c '#include <rte_mbuf.h>\n' layers.sh
plant "header needs another" lib/a.h 'size_t a(void);\n' headers.sh
plant "spaces for tabs" lib/a.c 'int a(void)\n{\n    return 0;\n}\n' format.sh
plant "no licence line" lib/a.c 'int a;\n' spdx.sh
rows=$(for n in $(seq 21); do echo "| $n | a | **open** | - |"; done)
plant "test that does not exist" siu/SECURITY.md \
	"$rows\n| 22 | a | b | \`test_attacks::test_no_such_thing\` |\n" security.sh
plant "row without a test" siu/SECURITY.md "$rows\n| 22 | a | b | - |\n" security.sh
exit $bad
