package fronted

// Script reports whether the deployment's URL is a script's, which wants its
// requests in the script's form.
func (t *Transport) Script() bool { return t.script }
