package exit

import "testing"

// TestPolicyZone: an address with a zone lies in no prefix, so that link-local
// addresses were open to whoever named an interface.
func TestPolicyZone(t *testing.T) {
	lan := Policy{AllowPrivate: true}
	for _, c := range []struct {
		policy  Policy
		address string
		denied  bool
	}{
		{Policy{}, "[fe80::1%eth0]:80", true},
		{Policy{}, "[fe80::1%lo0]:8080", true},
		{Policy{}, "[fe80::1]:80", true},
		{Policy{}, "[::1%lo]:80", true},
		{Policy{}, "[fd12::1%eth0]:80", true},
		{Policy{}, "[::ffff:127.0.0.1%lo]:80", true},
		{Policy{}, "[64:ff9b::7f00:1%eth0]:80", true},
		{Policy{}, "[2606:4700::1111%eth0]:443", false},
		{Policy{Deny: []string{"2606:4700::/32"}}, "[2606:4700::1111%eth0]:443", true},
		{Policy{Allow: []string{"fe80::/10"}}, "[fe80::1%eth0]:80", false},
		{lan, "[fe80::1%eth0]:80", true},
		{lan, "[fd12::1%eth0]:80", false},
	} {
		if err := mustPolicy(t, c.policy).checkAddress("printer.local", c.address); isDenied(err) != c.denied {
			t.Errorf("%+v: %s: %v", c.policy, c.address, err)
		}
	}
}
