# SPDX-License-Identifier: BSD-3-Clause
# A thin wrapper around meson. Works from a clean clone on Debian 12, as root where it says so.
#
#   make build       compile with gcc into build/
#   make demo        the roaming scenario on real packets in network namespaces (root)
#   make check       everything that must hold before a change goes in (root)
#   make check-long  the same, with soaks, long fuzzing and many kills (root)
#   make bench       figures; BENCH=quick for the short set
#   make package     a Debian package of the programs, build/roamgate_VERSION_ARCHITECTURE.deb
#   make lint        layers, headers, format, licence lines
#   make clean       removes the build folders

BENCH ?= full
DEMO ?=

.PHONY: all build install demo check check-long bench package lint clean

all: build

install:
	@.ci/install </dev/null

build: install
	@tests/build.sh build

demo: build
	@/usr/bin/python3 tests/demo/demo.py --build build $(DEMO)

check: install
	@tests/check.sh

check-long: install
	@tests/check.sh --long

bench: install
	@tests/build.sh build
	@perf/run --build build --set $(BENCH)

package: build
	@config/packaging/deb build

lint: build
	@meson test -C build --suite lint --print-errorlogs

clean:
	rm -rf build build-asan build-clang build-tsan build-fuzz
