package config

// A file of the other side is one mistake, whatever of this side's it lacks.

// otherSide records that the file is the config of the other side, and reports
// whether it is.
func (l *loader) otherSide() bool {
	isNode := l.inFile("node")
	isProxy := l.inFile("deployment") || l.inFile("link") || l.inFile("proxy")
	var text string
	switch {
	case l.src.Role == Node && isProxy && !isNode && !l.isSet("node"):
		text = "is the proxy's config, as it has no [node]; the node's is the one that has, which relaymux init calls node.toml"
	case l.src.Role == Run && isNode && !isProxy:
		text = "is the node's config, as it has [node] and no [[deployment]]; the proxy's is the one that has, which relaymux init calls relaymux.toml"
	default:
		return false
	}
	l.problems = append(l.problems, Problem{File: l.src.Path, Text: text})
	return true
}

// inFile reports whether the file has something at path or below it.
func (l *loader) inFile(path string) bool {
	for p, name := range l.from {
		if name == "" && under(p, path) {
			return true
		}
	}
	return false
}
