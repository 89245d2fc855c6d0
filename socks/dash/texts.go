package dash

import (
	_ "embed"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// english is all that people read on the page, by key. Another language is another
// such file.
//
//go:embed page/texts.en.json
var english []byte

// A texts is a table of texts.
type texts map[string]string

func newTexts(file []byte) (t texts, err error) { return t, json.Unmarshal(file, &t) }

// fill returns the text of a key with the arguments in the places of their names in
// braces. Those that are a number of seconds are told as a person would. The page does
// the same (page.js).
func (t texts) fill(key string, args map[string]string) string {
	text, ok := t[key]
	if !ok {
		return key
	}
	var pairs []string
	for name, value := range args {
		pairs = append(pairs, "{"+name+"}", value)
		if n, err := strconv.Atoi(value); err == nil {
			pairs = append(pairs, "{"+name+":time}", span(time.Duration(n)*time.Second))
		}
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// span is a duration as a person would tell it.
func span(d time.Duration) string {
	switch s := int(d.Seconds()); {
	case s < 60:
		return strconv.Itoa(s) + " s"
	case s < 3600:
		return strconv.Itoa(s/60) + " min"
	default:
		return strconv.Itoa(s/3600) + " h " + strconv.Itoa(s%3600/60) + " min"
	}
}
