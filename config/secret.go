package config

import "relaymux/mux/secret"

// Secret is a key, a password or a token. Nothing prints it.
type Secret = secret.Text

// NewSecret returns text as a Secret.
func NewSecret(text string) Secret { return secret.New(text) }
