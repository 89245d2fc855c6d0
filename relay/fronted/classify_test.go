package fronted

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"relaymux/relay"
)

// TestHostile69_Pages tells the decoys apart.
func TestHostile69_Pages(t *testing.T) {
	for _, tt := range []struct {
		name, page string
		status     int
		kind       relay.Kind
		untouched  bool
		detail     string // part of it
	}{
		{"empty", "", 200, relay.Decoy, false, "empty answer"},
		{"unknown html", "<html><title>Welcome</title>", 200, relay.Decoy, false, "HTML page: Welcome"},
		{"text", "moved permanently", 200, relay.Decoy, false, "not JSON: moved"},
		{"nothing returned", gsPage("The script completed but did not return anything."), 200, relay.Decoy, false, "returned nothing"},
		{"no doPost", gsPage("Script function not found: doPost"), 200, relay.Decoy, true, "not the relay's script"},
		{"not authorized", gsPage("Authorization is required to perform that action."), 200, relay.Decoy, true, "not authorized"},
		{"no permission", gsPage("Exception: You do not have permission to call UrlFetchApp.fetch. Required permissions: x"), 200, relay.Decoy, true, "not authorized"},
		{"deleted", gsPage("Sorry, the file you have requested does not exist."), 404, relay.Refused, true, "does not exist"},
		{"cannot open", gsPage("Sorry, unable to open the file at this time."), 200, relay.Decoy, false, "not found"},
		{"sign-in", `<title>Sign in - Google Accounts</title><form action="https://accounts.google.com/v3/signin/x">`, 200, relay.SignIn, true, "sign-in: Sign in"},
		{"portal", `<html><!-- <WISPAccessGatewayParam> -->Hello`, 200, relay.Decoy, false, "captive portal"},
		{"time limit", gsPage("Exceeded maximum execution time"), 200, relay.Timeout, false, "time limit"},
		{"too many at once", gsPage("There are too many scripts running simultaneously for this Google user account."), 200, relay.RetryAfter, true, "at once"},
		{"urlfetch quota", gsPage("Exception: Service invoked too many times for one day: urlfetch."), 200, relay.Quota, true, "may not fetch"},
		{"bandwidth", gsPage("Bandwidth quota exceeded: https://node. Try reducing the rate"), 200, relay.Quota, true, "may not fetch"},
		{"quota en", gsPage("You have exceeded your daily quota."), 403, relay.Quota, false, "quota"},
		{"quota fa", gsPage("سهمیه شما تمام شده است"), 200, relay.Quota, false, "سهمیه"},
		{"quota de", gsPage("Das Kontingent ist ausgeschöpft"), 200, relay.Quota, false, "Kontingent"},
		{"quota es", gsPage("Se superó la CUOTA diaria"), 200, relay.Quota, false, "CUOTA"},
		{"quota ru", gsPage("КВОТА исчерпана"), 200, relay.Quota, false, "КВОТА"},
		{"quota zh", gsPage("已超出配额"), 200, relay.Quota, false, "配额"},
		{"quota zh-TW", gsPage("已超出配額"), 200, relay.Quota, false, "配額"},
		{"quota fr", gsPage("Le quota quotidien a été dépassé"), 200, relay.Quota, false, "quota"},
		{"quota pt", gsPage("Sua COTA diária foi excedida"), 200, relay.Quota, false, "COTA"},
		{"quota tr", gsPage("Günlük kotanız doldu"), 200, relay.Quota, false, "kota"},
		{"quota ar", gsPage("لقد استنفدت الحصة اليومية"), 200, relay.Quota, false, "الحصة"},
		{"quota id", gsPage("Kuota harian terlampaui"), 200, relay.Quota, false, "Kuota"},
		{"quota vi", gsPage("Bạn đã vượt quá hạn mức"), 200, relay.Quota, false, "hạn mức"},
		{"quota ja", gsPage("1 日の割り当てを超えました"), 200, relay.Quota, false, "割り当て"},
		{"quota ko", gsPage("일일 할당량을 초과했습니다"), 200, relay.Quota, false, "할당량"},
		{"quota uk", gsPage("Квоту вичерпано"), 200, relay.Quota, false, "Квоту"},
		{"South Dakota", "<html><title>South Dakota</title>", 200, relay.Decoy, false, "HTML page: South Dakota"},
		{"Workspace landing", `<html><head><title>Google Workspace | Secure Online Productivity</title></head><body>Get started`, 200, relay.Decoy, false, "HTML page: Google Workspace"},
		{"sign-in fa", `<title>ورود به سیستم - حسابهای Google</title><form action="https://accounts.google.com/v3/signin/x">`, 200, relay.SignIn, true, "sign-in: ورود"},
		{"consent", `<html><form action="https://accounts.google.com/ServiceLogin?continue=x">Weiter`, 200, relay.SignIn, true, "sign-in: Weiter"},
		{"portal with a refresh", `<html><head><meta http-equiv="refresh" content="0;url=http://192.168.1.1/login"><title>Hotspot Login</title>`, 200, relay.Decoy, false, "captive portal: Hotspot Login"},
		{"portal by its status", "<html><title>Bienvenue</title>", 511, relay.Decoy, true, "511: Bienvenue"},
		{"worker 1101", "error code: 1101", 500, relay.ServerError, false, "1101"},
		{"worker 1101 page", "<title>Error 1101 | Cloudflare</title>", 500, relay.ServerError, false, "exception"},
		{"worker 1102", "error code: 1102", 503, relay.ServerError, false, "CPU"},
		{"worker 1015", "error code: 1015", 429, relay.RetryAfter, true, "1015"},
		{"worker 1027", "error code: 1027", 429, relay.Quota, true, "1027"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := classify(tt.status, nil, []byte(tt.page))
			if f.Kind != tt.kind || f.Untouched != tt.untouched || !strings.Contains(f.Detail, tt.detail) {
				t.Errorf("%v, untouched %v", f, f.Untouched)
			}
			if f.Hint == "" {
				t.Error("no hint")
			}
		})
	}
}

// TestExceptions: what a script says in JSON.
func TestExceptions(t *testing.T) {
	coded := func(words, code string) string { return `{"e":"` + words + `","code":"` + code + `"}` }
	const quota = "Exception: Service invoked too many times for one day: urlfetch."
	for _, tt := range []struct {
		text      string
		kind      relay.Kind // 0: the reader of the JSON has to see to it
		untouched bool
		detail    string
	}{
		{`{"r":[]}`, 0, false, ""},
		{`{"e":"tunnel HTTP 404"}`, 0, false, ""},
		{coded("unknown tunnel op: x", "UNSUPPORTED_OP"), 0, false, ""},
		{`{"e":"` + quota + `"}`, relay.Quota, true, "may not fetch"},
		{coded(quota, "FETCH_FAILED"), relay.Quota, true, "may not fetch"},
		{coded("Exception: You do not have permission to call UrlFetchApp.fetch.", "FETCH_FAILED"), relay.Decoy, true, "not authorized"},
		{coded("Exception: Address unavailable: https://node.test/", "FETCH_FAILED"), relay.ServerError, false, "Address unavailable"},
		{coded("Exception: SSL error \\\"x\\\"", "FETCH_FAILED"), relay.ServerError, false, "SSL error"},
		{coded("x", "NODE_STATUS_404"), relay.Refused, false, "status 404"},
		{coded("x", "NODE_STATUS_413"), relay.TooLarge, true, "status 413"},
		{coded("x", "NODE_STATUS_429"), relay.RetryAfter, true, "status 429"},
		{coded("x", "NODE_STATUS_502"), relay.ServerError, false, "status 502"},
		{coded("x", "NODE_STATUS_503"), relay.RetryAfter, false, "status 503"},
		{coded("x", "NODE_STATUS_200"), 0, false, ""},
		{coded("x", "NODE_STATUS_"), 0, false, ""},
		{coded("x", "NODE_STATUS_99999999999999999999"), 0, false, ""},
		{coded("x", "ANSWER_TOO_LARGE"), relay.TooLarge, false, "larger"},
		{`{"e":"a \",\"code\":\"FETCH_FAILED\"}`, 0, false, ""}, // the target's words, and no end
		{`{"e":"","code":"FETCH_FAILED","r":[]}`, 0, false, ""},
		{coded(strings.Repeat("x", 2<<10), "FETCH_FAILED"), 0, false, ""},
	} {
		f := exception([]byte(tt.text))
		switch {
		case f == nil && tt.kind == 0:
		case f == nil || f.Kind != tt.kind || f.Untouched != tt.untouched || !strings.Contains(f.Detail, tt.detail):
			t.Errorf("%.80s: %v", tt.text, f)
		case f.Hint == "" && f.Kind != relay.TooLarge && f.Kind != relay.RetryAfter:
			t.Errorf("%.80s: no hint", tt.text)
		}
	}
}

// gsPage is laid out as Apps Script lays out its errors: a style sheet first.
func gsPage(text string) string {
	return `<!DOCTYPE html><html><head><style type="text/css">body {color:#222}` + strings.Repeat(".x{a:b} ", 500) +
		`</style><meta charset="utf-8"></head><body><div style="font-family:monospace">` + text + `</div></body></html>`
}

func TestHostile71_Statuses(t *testing.T) {
	for _, tt := range []struct {
		status    int
		kind      relay.Kind
		untouched bool
	}{
		{204, relay.Malformed, false},
		{304, relay.Redirected, false},
		{400, relay.Refused, false},
		{403, relay.Refused, false},
		{404, relay.Refused, false},
		{413, relay.TooLarge, true},
		{429, relay.RetryAfter, true},
		{500, relay.ServerError, false},
		{502, relay.ServerError, false},
		{503, relay.RetryAfter, false},
		{504, relay.ServerError, false},
		{511, relay.Decoy, true},
		{599, relay.ServerError, false},
	} {
		f := classify(tt.status, nil, []byte("<title>Why</title>"))
		if f.Kind != tt.kind || f.Untouched != tt.untouched || !strings.Contains(f.Detail, "Why") {
			t.Errorf("status %d: %v, untouched %v", tt.status, f, f.Untouched)
		}
	}
}

func TestHostile71_RetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	in := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	const year = 365 * 24 * time.Hour
	for _, tt := range []struct {
		value, date string
		want        time.Duration
	}{
		{"", "", 0},
		{"120", "", 2 * time.Minute},
		{" 7 ", "", 7 * time.Second},
		{"0", "", 0},
		{"-5", "", 0},
		{"1.5", "", 0},
		{"soon", "", 0},
		{"31536000", "", year},
		{"31536001", "", year},
		{"18446744073709551615", "", year},
		{"18446744073709551616", "", 0},
		{in(90 * time.Second), "", 90 * time.Second},
		{in(-90 * time.Second), "", 0},
		{in(100 * year), "", year},
		{in(90 * time.Second), in(60 * time.Second), 30 * time.Second}, // the server's clock is ahead
	} {
		h := http.Header{"Retry-After": {tt.value}, "Date": {tt.date}}
		if got := retryAfter(h, now); got != tt.want {
			t.Errorf("%q at %q: %v, want %v", tt.value, tt.date, got, tt.want)
		}
	}
}

func TestCleanBoundsAndStrips(t *testing.T) {
	for in, want := range map[string]string{
		"a\x00b\r\n\tc \x1b[31mred": "a b c [31mred",
		"left\u202eright\u200b":     "leftright",
		"bad\xffutf8":               "badutf8",
		strings.Repeat("x", 120):    strings.Repeat("x", 120),
		strings.Repeat("x", 121):    strings.Repeat("x", 117) + "...",
		strings.Repeat("é", 61):     strings.Repeat("é", 58) + "...",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestWords(t *testing.T) {
	for in, want := range map[string]string{
		"<HTML><Title id=x>\nA &amp; B\n</TITLE>rest":              "A & B",
		"<style>p{}</style><script>if(a<b){}</script><p>Hi <b>you": "Hi you",
		"plain text":        "plain text",
		"<title>unfinished": "unfinished",
		"<":                 "",
		"":                  "",
	} {
		if got := words([]byte(in)); got != want {
			t.Errorf("words(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestScriptURLs(t *testing.T) {
	r := func(path string) bool { return Config{URL: parse(t, "https://script.google.com"+path)}.Script() }
	for path, want := range map[string]bool{
		"/macros/s/ID/exec":                true,
		"/a/macros/example.org/s/ID/exec":  true,
		"/front/macros/s/ID/exec":          true,
		"/macros/s//exec":                  false,
		"/macros/s/ID/dev":                 false,
		"/macros/s/ID/exec/":               false,
		"/s/ID/exec":                       false,
		"/macros/example.org/s/ID/exec":    false,
		"":                                 false,
		"/b/macros/example.org/s/ID/exec2": false,
	} {
		if got := r(path); got != want {
			t.Errorf("%q: script = %v", path, got)
		}
	}
}

// FuzzClassify: whatever a page holds, the error that it becomes is short,
// printable and of a known kind, and what it says of when to come back has its bounds.
func FuzzClassify(f *testing.F) {
	f.Add(200, []byte("<title>x</title>"), "", "")
	f.Add(404, []byte("<style"), "3", "")
	f.Add(200, []byte("<title>\u0130\u0130<"), " 18446744073709551615 ", "")
	f.Add(200, []byte(`{"e":"x","code":"NODE_STATUS_404"}`), "-1", "x")
	f.Add(503, []byte("<script>a</script><b>c"), "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT")
	f.Fuzz(func(t *testing.T, status int, page []byte, retry, date string) {
		got := exception(page)
		if got == nil {
			got = classify(status, http.Header{"Retry-After": {retry}, "Date": {date}}, page)
		}
		if strings.HasPrefix(got.Kind.String(), "kind(") {
			t.Errorf("kind %d", got.Kind)
		}
		if len(got.Detail) > 2*maxWords || !utf8.ValidString(got.Detail) {
			t.Errorf("detail %q", got.Detail)
		}
		if strings.ContainsFunc(got.Detail, unicode.IsControl) {
			t.Errorf("control characters in %q", got.Detail)
		}
		if got.RetryAfter < 0 || got.RetryAfter > 365*24*time.Hour {
			t.Errorf("%q at %q is after %v", retry, date, got.RetryAfter)
		}
	})
}

func parse(t *testing.T, rawURL string) *url.URL {
	t.Helper()
	u, err := url.Parse(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
