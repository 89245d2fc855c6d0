#!/bin/sh
# Prints the licences of what is linked into the program on any of the platforms that are
# its arguments (os/arch), and of Go itself: they go along with the binaries.
set -eu

modules=$(for p in "$@"; do
	GOOS=${p%/*} GOARCH=${p#*/} CGO_ENABLED=0 go list -deps -f \
		'{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}}	{{.Dir}}{{end}}{{end}}' .
done)
{
	printf 'Go\t%s\n' "$(go env GOROOT)"
	echo "$modules" | LC_ALL=C sort -u
} | while IFS='	' read -r module dir; do
	found=
	for f in "$dir"/LICENSE* "$dir"/LICENCE* "$dir"/COPYING* "$dir"/NOTICE* "$dir"/PATENTS*; do
		test -f "$f" || continue
		found=yes
		printf '\n==== %s, %s\n\n' "$module" "${f##*/}"
		cat "$f"
	done
	test -n "$found" || { echo "$0: no licence of $module in $dir" >&2; exit 1; }
done
