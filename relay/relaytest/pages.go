package relaytest

import "net/http"

// faces are what a kind of relay shows in the place of an answer.
type faces struct{ wrongKey, decoy, quota, busy, timedOut reply }

var ofScript = faces{
	wrongKey: reply{outcome: WrongKey, page: decoyPage},
	decoy:    reply{outcome: Decoyed, page: decoyPage},
	quota:    reply{outcome: QuotaUsed, page: quotaPage},
	busy:     reply{outcome: Busy, page: busyPage, status: http.StatusTooManyRequests},
	timedOut: reply{outcome: TimedOut, page: timeLimitPage},
}

var ofWorker = faces{
	wrongKey: reply{outcome: WrongKey, page: nothingPage, status: http.StatusNotFound},
	decoy:    reply{outcome: Decoyed, page: welcomePage},
	quota:    reply{outcome: QuotaUsed, page: usedUpPage, status: http.StatusTooManyRequests},
	busy:     reply{outcome: Busy, page: rateLimitPage, status: http.StatusTooManyRequests},
	timedOut: reply{outcome: TimedOut, page: tooSlowPage, status: http.StatusGatewayTimeout},
}

// refusal is what the knobs want shown to each request, nil if nothing.
func (f *faces) refusal(k *Knobs) *reply {
	switch {
	case k.Decoy:
		return &f.decoy
	case k.QuotaPage:
		return &f.quota
	}
	return nil
}

// The HTML that Google and the stock script answer with, cut down to what a
// client can tell them by.
const (
	decoyPage     = `<!DOCTYPE html><html><head><title>Web App</title></head><body><p>The script completed but did not return anything.</p></body></html>`
	quotaPage     = `<!DOCTYPE html><html><head><title>Error</title></head><body><div>Exception: Service invoked too many times for one day: urlfetch. (line 120, file "Code")</div></body></html>`
	timeLimitPage = `<!DOCTYPE html><html><head><title>Error</title></head><body><div>Exceeded maximum execution time</div></body></html>`
	busyPage      = `<!DOCTYPE html><html><head><title>Error 429</title></head><body>Too many simultaneous invocations</body></html>`
	missingPage   = `<!DOCTYPE html><html><head><title>Page not found</title></head><body>Sorry, unable to open the file at this time. Google Docs</body></html>`
	movedPage     = `<HTML><HEAD><TITLE>Moved Temporarily</TITLE></HEAD><BODY><H1>Moved Temporarily</H1></BODY></HTML>`
	statusPage    = `<!DOCTYPE html><html><head><title>Error</title></head><body>That's an error.</body></html>`
)

// What Cloudflare says, and servers that stand in front of others.
const (
	usedUpPage    = `error code: 1027`
	rateLimitPage = `error code: 1015`
	welcomePage   = `<!DOCTYPE html><html><head><title>Welcome to nginx!</title></head><body><h1>Welcome to nginx!</h1></body></html>`
	nothingPage   = `<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>`
	noNodePage    = `<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>`
	tooSlowPage   = `<html><head><title>504 Gateway Time-out</title></head><body><h1>504 Gateway Time-out</h1></body></html>`
)
