package relaytest

import (
	"strings"
	"testing"

	"relaymux/relay/script"
)

// TestStrangersSeeTheSame, whether a relay is emulated or ours: a script shows Google's
// page for one that returns nothing, which is what it does, and a Worker a site's 404.
// (.ci/e2e asks both the same, as they run.)
func TestStrangersSeeTheSame(t *testing.T) {
	gs, err := script.Fill(script.AppsScript, script.Values{})
	check(t, err)
	for _, part := range []string{"function doGet() {}", "return undefined;"} {
		if !strings.Contains(gs, part) {
			t.Errorf("Code.gs has no %q", part)
		}
	}
	if strings.Contains(gs, "<html") {
		t.Error("Code.gs has a page of its own, which tells it from other scripts")
	}
	worker, err := script.Fill(script.Worker, script.Values{})
	check(t, err)
	for status, want := range map[string]string{"404 Not Found": nothingPage, "502 Bad Gateway": noNodePage} {
		_, template, _ := strings.Cut(worker, "new Response(`")
		template, _, _ = strings.Cut(template, "`")
		if got := strings.ReplaceAll(template, "${title}", status); got != want {
			t.Errorf("a Worker's page is %q, and the emulator's %q", got, want)
		}
	}
}
