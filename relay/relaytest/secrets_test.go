package relaytest

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"relaymux/config"
	"relaymux/config/environ"
	"relaymux/config/setup"
	"relaymux/mux"
	"relaymux/mux/link"
	"relaymux/mux/secret"
	"relaymux/relay/doctor"
	"relaymux/relay/exit"
	"relaymux/relay/fronted"
	"relaymux/relay/h3"
	"relaymux/relay/script"
	"relaymux/relay/tune"
	"relaymux/socks"
	"relaymux/socks/dash"
	"relaymux/socks/route"
)

// looksSecret is what a field is called that holds a secret.
var looksSecret = regexp.MustCompile(`(?i)key|secret|passw|token|psk|identity|authoriz|credential`)

// noSecrets are fields that are called so and hold the name of a file.
var noSecrets = []string{"KeyFile", "SecretFile", "TLSKey"}

// TestSecretFields: a field that is to hold a key, a password or a token has a type that
// nothing prints, in every struct that packages are configured by.
func TestSecretFields(t *testing.T) {
	hides := []reflect.Type{reflect.TypeFor[secret.Text](), reflect.TypeFor[link.Secret](), reflect.TypeFor[socks.User]()}
	seen := make(map[reflect.Type]bool)
	var walk func(at string, typ reflect.Type)
	walk = func(at string, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map, reflect.Chan:
			walk(at, typ.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		if seen[typ] || !strings.HasPrefix(typ.PkgPath(), "relaymux") || slices.Contains(hides, typ) {
			return
		}
		seen[typ] = true
		for f := range typ.Fields() {
			path := at + "." + f.Name
			if looksSecret.MatchString(f.Name) && !slices.Contains(noSecrets, f.Name) && isText(f.Type) {
				t.Errorf("%s is a %v: a secret is a secret.Text, which nothing prints", path, f.Type)
			}
			walk(path, f.Type)
		}
	}
	for _, c := range []any{
		config.Config{}, environ.Proxy{}, setup.Options{}, mux.Config{}, mux.Link{}, link.Client{}, exit.Config{}, exit.QUIC{}, exit.TLS{},
		fronted.Config{}, h3.Config{}, doctor.Client{}, doctor.Report{}, script.Values{}, tune.Config{},
		socks.Config{}, dash.Config{}, dash.Client{}, dash.Status{}, route.Config{},
	} {
		walk(reflect.TypeOf(c).String(), reflect.TypeOf(c))
	}
	if len(seen) < 40 {
		t.Errorf("only %d structs were looked at", len(seen))
	}
}

// isText reports whether a type can hold a text.
func isText(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.String:
		return true
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Pointer:
		return typ.Elem().Kind() == reflect.Uint8 || isText(typ.Elem())
	}
	return false
}

// TestSecretsInConfigs: whatever is configured by them prints no secret, at any verb.
func TestSecretsInConfigs(t *testing.T) {
	const word = "hunter2-of-the-test-0123456789abcdef"
	s := secret.New(word)
	f := fronted.Config{Name: "d", Key: s}
	own, err := exit.New(exit.Config{Key: s, Identity: s, Clients: []link.Client{{Name: "c", Secret: link.NewSecret(word)}}})
	check(t, err)
	defer own.Close()
	for _, v := range []any{
		f, &f, h3.Config{Config: f}, mux.Config{Deployments: []mux.Deployment{{Name: "d", Key: s}}, Link: &mux.Link{Secret: link.NewSecret(word)}},
		exit.Config{Key: s, Identity: s}, own, doctor.Client{Deployments: []doctor.Deployment{{Config: f}}, Secret: link.NewSecret(word)},
		socks.Config{Users: []socks.User{{Name: "ann", Password: word}}}, socks.New(socks.Config{Users: []socks.User{{Name: "ann", Password: word}}}),
		dash.Config{Token: s}, dash.Client{Token: s}, script.Values{Key: s, NodeKey: s}, environ.Proxy{User: "ann", Password: s},
		config.Config{Proxy: config.Proxy{Users: []config.User{{Name: "ann", Password: s}}}, Link: config.Link{Secret: s}, Node: config.ExitNode{Key: s}},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, "hunter2") || strings.Contains(out, fmt.Sprintf("%x", "hunter2")) {
				t.Errorf("%s of %T: %.300s", verb, v, out)
			}
		}
	}
}
