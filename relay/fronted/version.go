package fronted

import "net/http"

// HTTP is the version of HTTP that the latest answer came by, "" if none has come.
func (t *Transport) HTTP() string {
	switch t.version.Load() {
	case 0:
		return ""
	case 1:
		return "1.1"
	case 2:
		return "2"
	}
	return "3"
}

// came notes the version of an answer.
func (t *Transport) came(resp *http.Response) { t.version.Store(int32(resp.ProtoMajor)) }
