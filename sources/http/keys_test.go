package http

import (
	"sluice/pipeline/component"
	"sluice/sources/internal/httpd"
)

// keyOf is a key with a name.
func keyOf(name, key string) httpd.Key { return httpd.Key{Name: name, Key: component.Secret(key)} }
