package relaytest

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
