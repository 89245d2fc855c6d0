package dash

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"relaymux/relay"
)

// The policy names what is in the page, and nothing else could run.
func TestHostile49_PagePolicy(t *testing.T) {
	p, err := newPage("token", false)
	if err != nil {
		t.Fatal(err)
	}
	for what, in := range map[string]string{"style": style, "script": script()} {
		if !strings.Contains(p.html, "<"+what+">"+in+"</"+what+">") {
			t.Errorf("the page does not have its %s as it is digested", what)
		}
		if !strings.Contains(p.policy, what+"-src "+digest(in)) {
			t.Errorf("the policy does not have the digest of the %s: %s", what, p.policy)
		}
	}
	if n := strings.Count(p.html, "<script"); n != 2 {
		t.Errorf("%d scripts", n)
	}
	if strings.Contains(p.html, "{{") {
		t.Error("a place in the page was not filled")
	}
}

// It works without any other host, and has no way from text to markup.
func TestPageIsAlone(t *testing.T) {
	p, err := newPage("", true)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(", "setHTML",
		"srcdoc", "javascript:", "@import", "url(", " onclick", " onload", "DOMParser", "createContextualFragment", "document.cookie"} {
		if strings.Contains(p.html, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	for _, use := range regexp.MustCompile(`localStorage[^;]*;`).FindAllString(p.html, -1) {
		if !strings.Contains(use, "keepLanguage") || strings.Contains(use, "oken") {
			t.Errorf("the browser keeps more than the language: %s", use)
		}
	}
	for _, link := range regexp.MustCompile(`(?:src|href)="[^"]*"`).FindAllString(p.html, -1) {
		if link != `href="data:,"` && !strings.HasPrefix(link, `href="#`) {
			t.Errorf("the page fetches %s", link)
		}
	}
	for _, style := range regexp.MustCompile(`\sstyle=`).FindAllString(frame, -1) {
		t.Errorf("%q is not in the policy", style)
	}
}

// A token and a text cannot end the element that they are in.
func TestPageBoot(t *testing.T) {
	p, err := newPage(`</script><script>alert(1)</script>`, false)
	if err != nil || strings.Contains(p.html, "<script>alert") {
		t.Errorf("%v", err)
	}
}

// Every text that is used is there, and every one that is there is used.
func TestTexts(t *testing.T) {
	list, err := languages()
	if err != nil {
		t.Fatal(err)
	}
	table, script := list[0], script()
	used := map[string]bool{"lang": true, "dir": true}
	for _, m := range regexp.MustCompile(`data-(?:text|label)="([^"]+)"`).FindAllStringSubmatch(frame, -1) {
		used[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`'([a-z]+(?:\.[a-z_]+)*)'`).FindAllStringSubmatch(script, -1) {
		if _, ok := table[m[1]]; ok {
			used[m[1]] = true
		}
	}
	for _, m := range regexp.MustCompile(`say\('([a-z.]+)'[,)]`).FindAllStringSubmatch(script, -1) {
		used[m[1]] = true
	}
	for _, state := range []string{LinkNone, LinkMaking, LinkUp, LinkFailing} {
		used["state."+state] = true
	}
	for _, unit := range []string{"B", "kB", "MB", "GB", "TB"} {
		used["unit."+unit] = true
	}
	for _, part := range []string{"queued", "send", "relay", "dial", "node", "answer"} {
		used["part."+part] = true
	}
	for _, kind := range []string{"data", "poll", "hello"} {
		used["kind."+kind] = true
	}
	for _, outcome := range outcomes() {
		used["outcome."+outcome] = true
	}
	for _, code := range hintCodes(t) {
		used["setup."+code] = true
	}
	for _, column := range []string{"host", "network", "dial", "age", "up", "down", "exchanges"} {
		used["flow."+column] = true
	}
	for _, code := range codes() {
		used["advice."+code] = true
	}
	for key := range used {
		if table[key] == "" {
			t.Errorf("there is no text %q", key)
		}
	}
	for key := range table {
		if !used[key] {
			t.Errorf("nobody uses the text %q", key)
		}
	}
}

// outcomes are the labels of all that may become of an exchange.
func outcomes() []string {
	list := []string{"ok"}
	for k := relay.Unreachable; k <= relay.Cancelled; k++ {
		list = append(list, k.String())
	}
	return list
}

// Each language says all that the first one does, with the same places for the same
// arguments, and nothing that only looks so.
func TestLanguages(t *testing.T) {
	list, err := languages()
	if err != nil {
		t.Fatal(err)
	}
	places := func(text string) []string {
		found := regexp.MustCompile(`\{[^}]*\}`).FindAllString(text, -1)
		slices.Sort(found)
		return found
	}
	for _, table := range list[1:] {
		if table["lang"] == list[0]["lang"] || table["dir"] != "ltr" && table["dir"] != "rtl" {
			t.Errorf("language %q, direction %q", table["lang"], table["dir"])
		}
		for key, text := range list[0] {
			switch other := table[key]; {
			case other == "":
				t.Errorf("%s has no %q", table["lang"], key)
			case !slices.Equal(places(text), places(other)):
				t.Errorf("%s of %q has the places %v, not %v", table["lang"], key, places(other), places(text))
			case strings.HasPrefix(key, "advice.") && other == text:
				t.Errorf("%s of %q is the same text", table["lang"], key)
			}
		}
		for key, text := range table {
			if list[0][key] == "" {
				t.Errorf("only %s has %q", table["lang"], key)
			}
			if strings.ContainsAny(text, "\u064a\u0643\u0660\u0661\u0662\u0663\u0664\u0665\u0666\u0667\u0668\u0669") {
				t.Errorf("%q has an Arabic letter or digit in the place of a Persian one: %s", key, text)
			}
		}
	}
}

// All of the page is not much: it is asked for over telephones' links too.
func TestPageIsSmall(t *testing.T) {
	p, err := newPage("token", false)
	if n := len(p.html); err != nil || n > 64<<10 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestFill(t *testing.T) {
	table := texts{"a": "{name} in {s:time}, {s} {other}"}
	if got := table.fill("a", map[string]string{"name": "{s}", "s": "3700"}); got != "{s} in 1 h 1 min, 3700 {other}" {
		t.Error(got)
	}
	table = texts{"b": "{why:outcome}, {other:outcome}", "outcome.timeout": "late"}
	if got := table.fill("b", map[string]string{"why": "timeout", "other": "x"}); got != "late, x" {
		t.Error(got)
	}
	if got := table.fill("none", nil); got != "none" {
		t.Error(got)
	}
}
