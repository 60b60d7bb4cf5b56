package gatewaytest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Gateway is a running gateway before a local Phoenix. It accepts every caller of this machine, without TLS.
type Gateway struct {
	Address      string // host:port for gateway.Dial
	TenantID     string
	OperatorCode string
	*Control
}

// Command returns how to start phoenix-gateway; empty if it is not installed here.
func Command() []string {
	if given := strings.Fields(os.Getenv("PHOENIX_GATEWAY_COMMAND")); len(given) > 0 {
		return given
	}
	if found, err := exec.LookPath("phoenix-gateway"); err == nil {
		return []string{found}
	}
	return nil
}

// Start starts a gateway for a test, which fails without one. It stops with the test, and keeps nothing.
func Start(t testing.TB) *Gateway {
	t.Helper()
	command := Command()
	if command == nil {
		t.Fatal("phoenix-gateway is not installed here: put it on the PATH, or name its command in PHOENIX_GATEWAY_COMMAND")
	}
	arguments := append(command[1:len(command):len(command)], "dev", "--port", "0", "--json", "--with-parent")
	process := exec.Command(command[0], arguments...)
	var log bytes.Buffer
	process.Stderr = &log
	input, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close() // it stops when its parent is gone
		_ = process.Wait()
	})
	line, _ := bufio.NewReader(output).ReadBytes('\n')
	var found struct {
		Gateway      string
		Control      string
		TenantID     string `json:"tenant_id"`
		OperatorCode string `json:"operator_code"`
	}
	if err := json.Unmarshal(line, &found); err != nil {
		_ = input.Close()
		_ = process.Wait()
		t.Fatalf("%s did not start: %s", strings.Join(command, " "), log.String())
	}
	return &Gateway{found.Gateway, found.TenantID, found.OperatorCode, NewControl(found.Control)}
}
