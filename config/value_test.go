package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"10ms": 10 * time.Millisecond, "1m30s": 90 * time.Second, "0s": 0, "-1s": -time.Second} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want {
			t.Errorf("%q is %v, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "90", "10 ms", "ms", "1d", "1e9", "9999999999h"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %v", text, d)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{
		"4MiB": 4 << 20, "64KiB": 64 << 10, "1GiB": 1 << 30, "4MB": 4e6, "2KB": 2000, "3GB": 3e9, "7B": 7, "0B": 0,
		"8589934591GiB": 8589934591 << 30,
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q is %d, %v", text, int64(s), err)
		}
	}
	for _, text := range []string{
		"", "4", "4194304", "4 MiB", "4mib", "4Mb", "4M", "MiB", "1.5MiB", "-1MiB", "+1MiB", "4BiMi", "8589934592GiB", "9223372036854775808B",
	} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is %d", text, int64(s))
		}
	}
}

func TestSizeTextRoundTrip(t *testing.T) {
	for _, want := range []Size{0, 1, 1000, 1024, 1500, 4e6, 4 << 20, 3 << 29, 1<<63 - 1} {
		var got Size
		if err := got.UnmarshalText([]byte(want.String())); err != nil || got != want {
			t.Errorf("%d written as %s is read as %d, %v", int64(want), want, int64(got), err)
		}
	}
}

func TestPin(t *testing.T) {
	const want = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	var colons []string
	for i := 0; i < len(want); i += 2 {
		colons = append(colons, strings.ToUpper(want[i:i+2]))
	}
	for _, text := range []string{
		want, strings.Join(colons, ":"), "sha256 Fingerprint=" + strings.Join(colons, ":"),
		"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
	} {
		var p Pin
		if err := p.UnmarshalText([]byte(text)); err != nil || p.String() != want {
			t.Errorf("%q is %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"abc", want[2:], want + "00", "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU="} {
		var p Pin
		if err := p.UnmarshalText([]byte(text)); err == nil || p != nil {
			t.Errorf("%q is %v", text, p)
		}
	}
}

func TestSecretIsNeverPrinted(t *testing.T) {
	const text = "hunter2-0123456789"
	type holder struct {
		Key   Secret
		Users []User
	}
	h := holder{NewSecret(text), []User{{"ann", NewSecret(text)}}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.3f"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", h.Key, &h, h)
	}
	fmt.Fprintln(&out, h.Key.String(), h)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "key", h.Key, "all", h)
	}
	j, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(j)
	for _, leak := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2")} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q stands in\n%s", leak, out.String())
		}
	}
	if h.Key.Reveal() != text || !h.Key.IsSet() || (Secret{}).IsSet() {
		t.Error("Reveal or IsSet is wrong")
	}
}
