package dash

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
)

// The page is one file when it is served; style and script are apart so that they can
// be read.
var (
	//go:embed page/page.html
	frame string
	//go:embed page/page.css
	style string
	//go:embed page/words.js
	words string
	//go:embed page/graphs.js
	graphs string
	//go:embed page/panels.js
	panels string
	//go:embed page/page.js
	rest string
)

// script is the page's script, of which nothing can be seen from outside.
func script() string {
	return "'use strict';\n(function () {\n" + words + graphs + panels + rest + "})();\n"
}

// A page is the page with all that is in it.
type page struct {
	html   string
	policy string // its Content-Security-Policy
}

// A boot is what the page knows before it has asked for anything.
type boot struct {
	Texts []texts `json:"texts"` // of each language
	Token string  `json:"token"` // "": the user is asked for it
}

// newPage puts the page together. token changes something; secret says that the user
// has to type it.
//
// The policy lets nothing in but what stands here, told by its digest, and asks
// nothing but this server. Whatever comes from the network is shown by textContent,
// and the browser itself refuses to take text for markup (Trusted Types).
func newPage(token string, secret bool) (page, error) {
	list, err := languages()
	if err != nil {
		return page{}, err
	}
	b := boot{Texts: list, Token: token}
	if secret {
		b.Token = ""
	}
	data, err := json.Marshal(b) // which writes < as \u003c: it cannot end its element
	if err != nil {
		return page{}, err
	}
	t, code := list[0], script()
	return page{
		html: strings.NewReplacer("{{lang}}", t["lang"], "{{dir}}", t["dir"], "{{title}}", t["title"],
			"{{style}}", style, "{{script}}", code, "{{boot}}", string(data)).Replace(frame),
		policy: "default-src 'none'; script-src " + digest(code) + "; style-src " + digest(style) +
			"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" +
			"; require-trusted-types-for 'script'; trusted-types 'none'",
	}, nil
}

// digest is how a policy names what may stand in the page.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

func (s *Server) servePage(w http.ResponseWriter, _ *http.Request) {
	text(w, "text/html", s.page.html)
}
