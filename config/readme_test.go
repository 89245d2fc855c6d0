package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The README's table of keys is this package's declaration, and cannot drift
// from it. UPDATE_README=1 writes it.
func TestReadmeKeys(t *testing.T) {
	const file = "../README.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), "./config` -->\n")
	_, tail, ok2 := strings.Cut(rest, "<!-- end of keys -->")
	if !ok || !ok2 {
		t.Fatal("README.md has no marks for the table of keys")
	}
	want := head + "./config` -->\n" + keyTable() + "<!-- end of keys -->" + tail
	if want == string(text) {
		return
	}
	if os.Getenv("UPDATE_README") == "" {
		t.Fatal("the table of keys in README.md is out of date: UPDATE_README=1 go test -run TestReadmeKeys ./config")
	}
	if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

func keyTable() string {
	var b strings.Builder
	b.WriteString("\n| key | type | default | meaning |\n|---|---|---|---|\n")
	for _, k := range Keys() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, k.Type, code(k.Default), strings.ReplaceAll(k.Doc, "|", "\\|"))
	}
	return b.String() + "\nEach key outside of the lists `[[deployment]]`, `[[account]]`, `[[node.client]]` and `users` is also an environment\n" +
		"variable: `batch.max_ops` is `RELAYMUX_BATCH_MAX_OPS`.\n\n"
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}
