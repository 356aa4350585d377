#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
# Sets up and compiles one build folder: build.sh build | build-asan | build-clang | build-tsan |
# build-fuzz. The folder's name says what it is, so that everybody builds the same things.
set -eu
cd "$(dirname "$0")/.."
folder=$1

compiler=gcc
options=
case $folder in
build) ;;
# The sanitizers' own shadow of unsigned arithmetic is not wanted: only what C calls undefined.
build-asan) options="-Db_sanitize=address,undefined -Db_lundef=false" ;;
build-clang) compiler=clang ;;
build-tsan)
	# clang: its thread sanitizer warns of fences that it cannot follow, gcc's refuses them.
	compiler=clang
	options="-Db_sanitize=thread -Db_lundef=false -Dprograms=false"
	;;
build-fuzz)
	compiler=clang
	options="-Db_sanitize=address,undefined -Db_lundef=false -Dfuzz=true -Dprograms=false"
	;;
*)
	echo "build.sh: no such build: $folder" >&2
	exit 2
	;;
esac

if [ ! -f "$folder/build.ninja" ]; then
	rm -rf "$folder"
	# shellcheck disable=SC2086
	CC=$compiler meson setup "$folder" $options >"$folder.log" 2>&1 || {
		cat "$folder.log"
		rm -f "$folder.log"
		exit 1
	}
	rm -f "$folder.log"
fi
# stderr, so that the figures of "make bench" have stdout for themselves
ninja -C "$folder" --quiet >&2
