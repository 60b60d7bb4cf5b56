//go:build pinned

// Package pinned keeps h2spec in go.mod: the tests build its command from there.
package pinned

import _ "github.com/summerwind/h2spec/cmd/h2spec"
