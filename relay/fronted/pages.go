package fronted

import (
	"bytes"
	"strings"

	"relaymux/relay"
)

// page is a page whose cause is known.
type page struct {
	// marks are what one finds in it, any of them, in lower case. A "*"
	// stands for a few words.
	marks []string

	kind      relay.Kind
	untouched bool // the script has certainly not fetched from the node

	cause, hint string
}

func (p *page) failure(words string) *relay.Failure {
	return &relay.Failure{
		Kind: p.kind, Untouched: p.untouched, Detail: detail(p.cause, words), Hint: p.hint,
	}
}

const (
	quotaHint  = "wait for the reset of the quota (midnight Pacific time), or add a deployment of another account"
	portalHint = "open any page in a browser and log in to the network"
	deployHint = "deploy the relay's script again: Deploy > Manage deployments > Edit > New version"
	signInHint = `deploy the script with access for "Anyone", not "Anyone with Google account"`
)

// pages are in order of certainty: the first that matches wins.
var pages = [...]page{
	{
		marks: []string{"invoked too many times*urlfetch", "bandwidth quota exceeded", "urlfetch*quota exceeded"},
		kind:  relay.Quota, untouched: true,
		cause: "the script may not fetch any more", hint: quotaHint,
	}, {
		marks: []string{"scripts running simultaneously", "too many simultaneous invocations"},
		kind:  relay.RetryAfter, untouched: true,
		cause: "too many executions at once", hint: "fewer slots for this account: other devices use it too",
	}, {
		marks: []string{"exceeded maximum execution time"},
		kind:  relay.Timeout,
		cause: "the script ran into its time limit", hint: "lower exchange_limit, so that holds end earlier",
	}, {
		marks: []string{"completed but did not return anything"},
		kind:  relay.Decoy,
		cause: "the script returned nothing", hint: "compare key with the script's AUTH_KEY: this is its page for a wrong one",
	}, {
		marks: []string{"script function not found"},
		kind:  relay.Decoy, untouched: true,
		cause: "the deployed version is not the relay's script", hint: deployHint,
	}, {
		marks: []string{"authorization is required", "authorization needed", "do not have permission to call urlfetchapp", "script.external_request"},
		kind:  relay.Decoy, untouched: true,
		cause: "the script is not authorized to fetch", hint: "open the script, run it once by hand and grant what it asks for",
	}, {
		marks: []string{"file you have requested does not exist", "file you requested does not exist", "requested file does not exist"},
		kind:  relay.Decoy, untouched: true,
		cause: "the deployment does not exist", hint: "it was archived or its id is wrong: copy the url from Deploy > Manage deployments",
	}, {
		marks: []string{"unable to open the file", "page not found*google", "page not found*drive"},
		kind:  relay.Decoy,
		cause: "the deployment was not found", hint: "if it stays, copy the url from Deploy > Manage deployments",
	}, {
		marks: []string{"error code: 1027", "error 1027"},
		kind:  relay.Quota, untouched: true,
		cause: "the Worker's daily requests are used up (1027)", hint: "wait for midnight UTC, or add a deployment of another account",
	}, {
		marks: []string{"error code: 1101", "error 1101"},
		kind:  relay.ServerError,
		cause: "the Worker threw an exception (1101)", hint: "look into the Worker's log",
	}, {
		marks: []string{"error code: 1102", "error 1102"},
		kind:  relay.ServerError,
		cause: "the Worker ran out of CPU time (1102)", hint: "lower max_bytes in [batch], or use a paid plan",
	}, {
		marks: []string{"error code: 1015", "error 1015"},
		kind:  relay.RetryAfter, untouched: true,
		cause: "Cloudflare limits the rate (1015)", hint: "fewer slots, or another account",
	}, {
		marks: []string{"wispaccessgatewayparam", "captive portal", "hotspot login", "wifi login", "wi-fi login"},
		kind:  relay.Decoy,
		cause: "a captive portal", hint: portalHint,
	}, {
		marks: []string{"accounts.google.com/v3/signin", "accounts.google.com/servicelogin", "google accounts</title>"},
		kind:  relay.SignIn, untouched: true,
		cause: "the deployment asks for a Google sign-in", hint: signInHint,
	}, {
		// Google writes its pages in the language of the script's owner:
		// en, fa, de, es, ru and uk, zh (both scripts), fr, pt, tr, ar, id, vi, ja, ko.
		marks: []string{
			"invoked too many times", "exceeded*quota", "quota*exceeded",
			"سهمیه", "دفعات زیادی فراخوانی",
			"kontingent", "zu oft aufgerufen", "zu häufig aufgerufen",
			"cuota", "demasiadas veces",
			"квот", "слишком много раз",
			"配额", "配額", "调用次数过多", "調用次數過多",
			"quota*dépassé", "dépassé*quota", "trop de fois",
			"cota*excedid", "excedeu*cota", "muitas vezes",
			" kotası", " kotanız", "çok fazla kez",
			"الحصة", "حصتك", "kuota", "hạn mức", "hạn ngạch", "割り当て", "할당량",
		},
		kind:  relay.Quota,
		cause: "the quota is used up", hint: quotaHint,
	},
}

// pageOf finds the known page in a text of lower case, nil if there is none.
func pageOf(lower []byte) *page {
	for i := range pages {
		for _, m := range pages[i].marks {
			if matches(lower, m) {
				return &pages[i]
			}
		}
	}
	return nil
}

// matches reports whether the parts of mark stand in text one after another,
// each within a line's length of the one before.
func matches(text []byte, mark string) bool {
	const gap = 80
	first, rest, more := strings.Cut(mark, "*")
	for {
		at := bytes.Index(text, []byte(first))
		if at < 0 {
			return false
		}
		text = text[at+len(first):]
		if !more || matches(text[:min(len(text), gap)], rest) {
			return true
		}
	}
}

// signIn is the answer of a deployment that is not open to everyone, as the
// redirect it usually is. At the first hop the script has not run.
func signIn(firstHop bool) *relay.Failure {
	return &relay.Failure{
		Kind: relay.SignIn, Untouched: firstHop,
		Detail: "redirected to accounts.google.com", Hint: signInHint,
	}
}
