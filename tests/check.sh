#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# Everything that must hold before a change goes in: check.sh [--long]. Each stage runs even if an
# earlier one failed; the last lines name the stages that failed and count the tests.
set -u
cd "$(dirname "$0")/.."

long=0
fuzz_seconds=4
if [ "${1:-}" = --long ]; then
	long=1
	fuzz_seconds=120
fi
export ROAMGATE_LONG=$long
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export ASAN_OPTIONS=abort_on_error=1:detect_stack_use_after_return=1
export TSAN_OPTIONS=halt_on_error=1

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
trap 'exit 130' INT TERM HUP
: >"$results/counts"
: >"$results/failed"
started=$SECONDS

# stage NAME COMMAND...: runs it without stdin, shows how long it took, remembers a failure.
stage() {
	local name=$1 begin=$SECONDS
	shift
	echo "== $name"
	if "$@" </dev/null; then
		echo "== $name: ok ($((SECONDS - begin)) s)"
	else
		echo "== $name: FAILED ($((SECONDS - begin)) s)"
		echo "$name" >>"$results/failed"
	fi
}

# meson's own count of a folder's tests, as "passed failed skipped".
suite() {
	local folder=$1 log=$1/meson-logs/testlog.json ret=0
	shift
	rm -f "$log"
	meson test -C "$folder" --no-rebuild --print-errorlogs "$@" || ret=1
	[ -f "$log" ] || return 1
	/usr/bin/python3 - "$log" >>"$results/counts" <<-'PYTHON'
		import json, sys
		results = [json.loads(line)["result"] for line in open(sys.argv[1])]
		good = sum(r in ("OK", "EXPECTEDFAIL") for r in results)
		skipped = results.count("SKIP")
		print(good, len(results) - good - skipped, skipped)
	PYTHON
	return $ret
}

compile() {
	tests/build.sh build && tests/build.sh build-asan && tests/build.sh build-clang &&
		tests/build.sh build-tsan && tests/build.sh build-fuzz
}

fuzz() {
	local target corpus dictionary ret=0 good=0 bad=0
	for target in build-fuzz/tests/fuzz/*_fuzz; do
		[ -x "$target" ] || {
			echo "no fuzz target was built"
			return 1
		}
		corpus=tests/fuzz/corpus/$(basename "$target" _fuzz)
		mkdir -p "$results/corpus"
		[ -d "$corpus" ] || corpus=
		dictionary=tests/fuzz/$(basename "$target" _fuzz).dict
		[ -f "$dictionary" ] && dictionary=-dict=$dictionary || dictionary=
		# shellcheck disable=SC2086
		if "$target" -max_total_time=$fuzz_seconds -print_final_stats=0 -verbosity=0 \
			-artifact_prefix="$PWD/build-fuzz/" "$results/corpus" $corpus $dictionary \
			>"$results/fuzz.log" 2>&1; then
			good=$((good + 1))
			echo "$(basename "$target"): ok, $fuzz_seconds s"
		else
			bad=$((bad + 1))
			ret=1
			echo "$(basename "$target"): FAILED"
			tail -n 60 "$results/fuzz.log"
		fi
		rm -rf "$results/corpus"
	done
	echo "$good $bad 0" >>"$results/counts"
	return $ret
}

# The searches of the model, with their count.
model() {
	local ret=0
	siu/model/check >"$results/model.log" || ret=1
	cat "$results/model.log"
	echo "$(grep -vc FAILED "$results/model.log") $(grep -c FAILED "$results/model.log") 0" \
		>>"$results/counts"
	return $ret
}

# The tests of a folder by pytest, with their count.
pytests() {
	local ret=0
	rm -f "$results/junit.xml"
	/usr/bin/python3 -m pytest "$1" -q -ra -p no:cacheprovider --build=build \
		--junitxml="$results/junit.xml" || ret=1
	[ -f "$results/junit.xml" ] || return 1
	/usr/bin/python3 - "$results/junit.xml" >>"$results/counts" <<-'PYTHON'
		import sys, xml.etree.ElementTree as xml
		suite = xml.parse(sys.argv[1]).getroot().find("testsuite")
		total, skipped = int(suite.get("tests")), int(suite.get("skipped"))
		bad = int(suite.get("failures")) + int(suite.get("errors"))
		print(total - bad - skipped, bad, skipped)
	PYTHON
	return $ret
}

if stage "build: gcc, clang, sanitizers, fuzz targets" compile && [ ! -s "$results/failed" ]; then
	stage "lint" suite build --suite lint
	stage "unit tests, gcc" suite build --suite unit
	stage "unit tests, address and undefined behaviour sanitizers" suite build-asan --suite unit
	stage "concurrency, gcc" suite build --suite concurrency
	stage "concurrency, address and undefined behaviour sanitizers" \
		suite build-asan --suite concurrency
	stage "concurrency, thread sanitizer" suite build-tsan --suite concurrency
	stage "fuzzing" fuzz
	stage "model of the handover and of SYNC" model
	if [ "$(id -u)" = 0 ]; then
		stage "integration" pytests tests/integration
		stage "virtual machines" pytests tests/vm
		[ $long = 0 ] || stage "demo, ten moves and home, with its bars" \
			/usr/bin/python3 tests/demo/demo.py --build build --moves 11 --strict
	else
		echo "== integration, virtual machines: FAILED (network namespaces need root)"
		echo "integration, virtual machines" >>"$results/failed"
	fi
fi

echo "== $((SECONDS - started)) s"
while read -r name; do
	echo "FAILED: $name"
done <"$results/failed"
awk '{ good += $1; bad += $2; skipped += $3 }
	END { printf "%d passed, %d failed, %d skipped\n", good, bad, skipped }' "$results/counts"
[ ! -s "$results/failed" ]
