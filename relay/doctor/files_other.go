//go:build !unix

package doctor

// fileLimit is not known here.
func fileLimit() (uint64, bool) { return 0, false }
