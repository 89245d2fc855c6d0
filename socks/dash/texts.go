package dash

import (
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// All that people read on the page, by key. Another language is another such file, and
// a line in languages.
var (
	//go:embed page/texts.en.json
	english []byte
	//go:embed page/texts.fa.json
	persian []byte
)

// A texts is a table of texts.
type texts map[string]string

func newTexts(file []byte) (t texts, err error) { return t, json.Unmarshal(file, &t) }

// languages are all tables. The first is for who speaks none of them.
func languages() (list []texts, err error) {
	for _, file := range [][]byte{english, persian} {
		t, err := newTexts(file)
		if err != nil {
			return nil, fmt.Errorf("texts of the page: %w", err)
		}
		list = append(list, t)
	}
	return list, nil
}

// fill returns the text of a key with the arguments in the places of their names in
// braces: {seconds:time} is a number of seconds as a person would tell it, {why:outcome}
// what has become of an exchange, in words. The page does
// the same (words.js).
func (t texts) fill(key string, args map[string]string) string {
	text, ok := t[key]
	if !ok {
		return key
	}
	var pairs []string
	for name, value := range args {
		pairs = append(pairs, "{"+name+"}", value)
		if n, err := strconv.Atoi(value); err == nil {
			pairs = append(pairs, "{"+name+":time}", Span(time.Duration(n)*time.Second))
		}
		pairs = append(pairs, "{"+name+":outcome}", cmp.Or(t["outcome."+value], value))
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// Span is a duration as a person would tell it.
func Span(d time.Duration) string {
	switch s := int(d.Seconds()); {
	case s < 60:
		return strconv.Itoa(s) + " s"
	case s < 3600:
		return strconv.Itoa(s/60) + " min"
	default:
		return strconv.Itoa(s/3600) + " h " + strconv.Itoa(s%3600/60) + " min"
	}
}
