package dash

import (
	"regexp"
	"strings"
	"testing"
)

// The policy names what is in the page, and nothing else could run.
func TestPagePolicy(t *testing.T) {
	p, err := newPage("token", false)
	if err != nil {
		t.Fatal(err)
	}
	for what, in := range map[string]string{"style": style, "script": script} {
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
		"srcdoc", "javascript:", "@import", "url(", " onclick", " onload", "DOMParser", "createContextualFragment", "localStorage"} {
		if strings.Contains(p.html, bad) {
			t.Errorf("the page has %q", bad)
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
	table, err := newTexts(english)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{"lang": true, "dir": true}
	for _, m := range regexp.MustCompile(`data-(?:text|label)="([^"]+)"`).FindAllStringSubmatch(frame, -1) {
		used[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`'([a-z]+(?:\.[a-z]+)*)'`).FindAllStringSubmatch(script, -1) {
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
	for _, column := range []string{"host", "network", "age", "up", "down", "exchanges"} {
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

func TestFill(t *testing.T) {
	table := texts{"a": "{name} in {s:time}, {s} {other}"}
	if got := table.fill("a", map[string]string{"name": "{s}", "s": "3700"}); got != "{s} in 1 h 1 min, 3700 {other}" {
		t.Error(got)
	}
	if got := table.fill("none", nil); got != "none" {
		t.Error(got)
	}
}
