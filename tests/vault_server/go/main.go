// Vault with the parts that the tests use, and no other: its own server has hundreds of plugins and builds for
// half an hour. State is in a folder, so that a killed server continues. One unseal key, kept beside the state.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	log "github.com/hashicorp/go-hclog"
	jwtauth "github.com/hashicorp/vault-plugin-auth-jwt"
	kubeauth "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/logical/database"
	"github.com/hashicorp/vault/builtin/logical/transit"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/plugins/database/postgresql"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/vault"
)

type initialised struct {
	Address   string `json:"address"`
	RootToken string `json:"root_token"`
	UnsealKey []byte `json:"unseal_key"`
}

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	data := flag.String("data", "", "folder of the state")
	cert := flag.String("tls-cert", "", "certificate chain")
	key := flag.String("tls-key", "", "private key")
	flag.Parse()
	if err := serve(*listen, *data, *cert, *key); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(listen, data, cert, key string) error {
	logger := log.New(&log.LoggerOptions{Level: log.Warn, Output: os.Stderr})
	storage, err := file.NewFileBackend(map[string]string{"path": filepath.Join(data, "storage")}, logger)
	if err != nil {
		return err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: storage,
		LogicalBackends: map[string]logical.Factory{
			"kv": kv.Factory, "transit": transit.Factory, "database": database.Factory,
		},
		CredentialBackends: map[string]logical.Factory{
			"approle": approle.Factory, "jwt": jwtauth.Factory, "kubernetes": kubeauth.Factory,
		},
		BuiltinRegistry: plugins{},
		DisableMlock:    true,
		Logger:          logger,
	})
	if err != nil {
		return err
	}
	state, err := opened(core, filepath.Join(data, "init.json"))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	state.Address = listener.Addr().String()
	line, _ := json.Marshal(state)
	fmt.Println(string(line))
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}})
	if cert != "" {
		return http.ServeTLS(listener, handler, cert, key)
	}
	return http.Serve(listener, handler)
}

// opened initialises the core at the first start, and unseals it at every start.
func opened(core *vault.Core, path string) (*initialised, error) {
	ctx := namespace.RootContext(context.Background())
	state := &initialised{}
	if text, err := os.ReadFile(path); err == nil {
		if err := json.Unmarshal(text, state); err != nil {
			return nil, err
		}
	} else {
		barrier := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1, StoredShares: 1}
		made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: barrier, RecoveryConfig: barrier})
		if err != nil {
			return nil, err
		}
		state.RootToken, state.UnsealKey = made.RootToken, made.SecretShares[0]
		text, _ := json.Marshal(state)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return nil, err
		}
	}
	if _, err := core.Unseal(append([]byte{}, state.UnsealKey...)); err != nil {
		return nil, err
	}
	return state, nil
}

// plugins is the registry of what the database engine may connect to.
type plugins struct{}

const postgres = "postgresql-database-plugin"

func (plugins) Contains(name string, kind consts.PluginType) bool {
	return name == postgres && kind == consts.PluginTypeDatabase
}

func (p plugins) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	return postgresql.New, p.Contains(name, kind)
}

func (plugins) Keys(kind consts.PluginType) []string {
	if kind == consts.PluginTypeDatabase {
		return []string{postgres}
	}
	return nil
}

func (p plugins) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, p.Contains(name, kind)
}

func (plugins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
