package script

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"relaymux/mux/secret"
	"relaymux/mux/wire"
)

// What became of a request in a script, and in a Worker.
type became struct {
	Text               *string
	Threw, Path, Shown string
	Skipped            bool
	Status             int
	Headers            [][2]string
	Fetches            []struct {
		URL, Payload string
		Headers      [][2]string
		Careful      bool
	}
}

type fuzzCase struct {
	Contents      string `json:"contents"`
	Status        int    `json:"status"`
	Answer        string `json:"answer"`
	Fails         bool   `json:"fails"`
	Method        string `json:"method"`
	Path          string `json:"path"`
	Authorization string `json:"authorization"`
}

const (
	fuzzNode    = "https://node.example:8443"
	fuzzKey     = "the-key-of-the-deployment-0123"
	fuzzNodeKey = "the-key-of-the-node-0123456789"
	fuzzPath    = "/hidden"
)

// FuzzScripts: whatever a relay's script is sent, it asks nobody but the node, nothing
// without the key, and shows the node's key to nobody else; and whatever the node
// answers, what comes back is that or an error that the proxy understands.
func FuzzScripts(f *testing.F) {
	ask := startScripts(f)
	for _, s := range []string{
		`{"k":"` + fuzzKey + `","t":"batch","ops":[{"op":"data","sid":"a"}]}`, `{"k":"` + fuzzKey + `","t":"connect","h":"a","p":{"x":1}}`,
		`{"k":"` + fuzzKey + `","t":"connect_data","h":"a","p":1,"d":""}`, `{"k":"` + fuzzKey + `","t":"data","sid":[1],"d":0}`, `{"k":"` + fuzzKey + `","t":"close"}`,
		`{"k":"` + fuzzKey + `","t":{"toString":1}}`, `{"k":["` + fuzzKey + `"],"t":"batch"}`, `{"k":"x","k":"` + fuzzKey + `","t":"\ud800"}`, `null`, `5`, `"`, `{"__proto__":{"k":"` + fuzzKey + `"}}`,
	} {
		f.Add(s, 200, `{"r":[]}`, false, "POST", fuzzPath+"/tunnel/link", "Bearer "+fuzzKey)
		f.Add(s, 302, "", true, "GET", fuzzPath+"/tunnel/link", "Bearer "+fuzzKey)
	}
	f.Add("x", 503, "é\u2028", false, "POST", fuzzPath+"/../hidden/tunnel/batch?x=1", "bearer "+fuzzKey)
	f.Add("x", 4, "<html>", false, "POST", "/tunnel/link", "Bearer ")
	f.Fuzz(func(t *testing.T, contents string, status int, answer string, fails bool, method, path, authorization string) {
		c := fuzzCase{string([]rune(contents)), status, string([]rune(answer)), fails, method, path, authorization}
		script, worker := ask(t, c)
		checkScript(t, &c, &script)
		if !worker.Skipped {
			checkWorker(t, &c, &worker)
		}
	})
}

func checkScript(t *testing.T, c *fuzzCase, got *became) {
	var request map[string]any
	_ = json.Unmarshal([]byte(c.Contents), &request)
	if request["k"] != fuzzKey {
		if len(got.Fetches) > 0 || got.Text != nil || got.Threw != "" {
			t.Errorf("%q without the key: %+v", c.Contents, got)
		}
		return
	}
	if got.Threw != "" {
		if _, text := request["t"].(string); text || request["t"] == nil {
			t.Errorf("%q: %s", c.Contents, got.Threw)
		}
		return
	}
	if got.Text == nil || strings.Contains(*got.Text, fuzzNodeKey) && !strings.Contains(c.Answer+c.Contents, fuzzNodeKey) {
		t.Fatalf("%q: %+v", c.Contents, got)
	}
	for _, fetch := range got.Fetches {
		var sent struct{ K string }
		if fetch.URL != fuzzNode+"/tunnel" && fetch.URL != fuzzNode+"/tunnel/batch" || !fetch.Careful || json.Unmarshal([]byte(fetch.Payload), &sent) != nil || sent.K != fuzzNodeKey {
			t.Errorf("%q: fetches %+v", c.Contents, fetch)
		}
		if strings.Contains(fetch.Payload, fuzzKey) && strings.Count(c.Contents, fuzzKey) == 1 {
			t.Errorf("%q: the key goes on in %s", c.Contents, fetch.Payload)
		}
	}
	if len(got.Fetches) == 1 && c.Status == 200 && !c.Fails {
		if *got.Text != c.Answer {
			t.Errorf("%q has become %q", c.Answer, *got.Text)
		}
		return
	}
	var a wire.Answer
	if err := wire.ParseAnswer([]byte(*got.Text), &a, 1); err != nil || !a.HasErr || len(got.Fetches) > 1 {
		t.Errorf("%q: %q (%v), %d fetches", c.Contents, *got.Text, err, len(got.Fetches))
	}
}

func checkWorker(t *testing.T, c *fuzzCase, got *became) {
	lets := strings.EqualFold(c.Method, "POST") && got.Shown == "Bearer "+fuzzKey && (got.Path == fuzzPath+"/tunnel/link" || got.Path == fuzzPath+"/tunnel/batch")
	if got.Threw != "" || lets != (len(got.Fetches) == 1) || !lets && (got.Status != 404 || got.Text == nil || !strings.Contains(*got.Text, "404 Not Found")) {
		t.Errorf("%+v: %+v", c, got)
	}
	for _, fetch := range got.Fetches {
		path, ok := strings.CutPrefix(fetch.URL, fuzzNode+"/tunnel/")
		if !ok || path != "link" && path != "batch" || !fetch.Careful {
			t.Errorf("%+v: fetches %s", c, fetch.URL)
		}
		for _, h := range fetch.Headers {
			if h[0] != "content-type" {
				t.Errorf("%+v: passes on %q", c, h)
			}
		}
	}
	for _, h := range got.Headers {
		if h[0] != "content-type" && h[0] != "retry-after" && h[0] != "cache-control" {
			t.Errorf("%+v: answers with %q", c, h)
		}
	}
}

// startScripts runs both scripts in Node.js, until the end of the test.
func startScripts(f *testing.F) func(*testing.T, fuzzCase) (script, worker became) {
	node, err := exec.LookPath("node")
	if err != nil {
		f.Skip("there is no Node.js")
	}
	dir := f.TempDir()
	args := []string{filepath.Join("testdata", "fuzz.mjs")}
	for _, kind := range []string{AppsScript, Worker} {
		v := Values{Node: fuzzNode, Key: secret.New(fuzzKey)}
		if kind == AppsScript {
			v.NodeKey = secret.New(fuzzNodeKey)
		} else {
			v.Path = fuzzPath
		}
		text, err := Fill(kind, v)
		if err != nil {
			f.Fatal(err)
		}
		file := filepath.Join(dir, kind+".js")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			f.Fatal(err)
		}
		args = append(args, file)
	}
	c := exec.CommandContext(f.Context(), node, args...)
	in, err := c.StdinPipe()
	if err != nil {
		f.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		f.Fatal(err)
	}
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		in.Close()
		_ = c.Wait() // it may have been killed at the end of the context
	})
	lines := bufio.NewReader(out)
	return func(t *testing.T, each fuzzCase) (script, worker became) {
		text, err := json.Marshal(each)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := in.Write(append(text, '\n')); err != nil {
			t.Fatal(err)
		}
		line, err := lines.ReadBytes('\n')
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		var both struct{ Script, Worker became }
		if err := json.NewDecoder(bytes.NewReader(line)).Decode(&both); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return both.Script, both.Worker
	}
}
