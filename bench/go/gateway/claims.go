package main

import (
	"context"
	"database/sql"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver
)

const maxGroup = 200

const schema = `CREATE TABLE IF NOT EXISTS operations (
	id TEXT PRIMARY KEY, operator TEXT NOT NULL, operation TEXT NOT NULL, idempotency_key TEXT NOT NULL,
	body BLOB NOT NULL, signature TEXT NOT NULL, player TEXT NOT NULL, received_at INTEGER NOT NULL,
	lease_until INTEGER NOT NULL, UNIQUE (operator, operation, idempotency_key)
)`

const insert = `INSERT INTO operations VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`

// claims makes claims durable in SQLite; claims that arrive during a commit share the next one.
type claims struct {
	database *sql.DB
	insert   *sql.Stmt
	waiting  chan *claim
}

type claim struct {
	id, operator, operation, key, signature, player string
	body                                            []byte
	receivedAt, leaseUntil                          time.Time
	isNew                                           bool
	done                                            chan error
}

func openClaims(path string) (*claims, error) {
	database, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_synchronous=FULL&_txlock=immediate")
	if err != nil {
		return nil, err
	}
	database.SetMaxOpenConns(1)
	if _, err := database.Exec(schema); err != nil {
		return nil, err
	}
	prepared, err := database.Prepare(insert)
	if err != nil {
		return nil, err
	}
	made := &claims{database: database, insert: prepared, waiting: make(chan *claim, maxGroup)}
	go made.commitWaiting()
	return made, nil
}

// make waits until the claim is durable; then isNew says whether it is the first one.
func (c *claims) make(ctx context.Context, one *claim) error {
	select {
	case c.waiting <- one:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-one.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *claims) commitWaiting() {
	for first := range c.waiting {
		group := []*claim{first}
		for len(group) < maxGroup && len(c.waiting) > 0 {
			group = append(group, <-c.waiting)
		}
		err := c.commit(group)
		for _, each := range group {
			each.done <- err
		}
	}
}

func (c *claims) commit(group []*claim) error {
	transaction, err := c.database.Begin()
	if err != nil {
		return err
	}
	defer transaction.Rollback()
	statement := transaction.Stmt(c.insert)
	for _, each := range group {
		result, err := statement.Exec(each.id, each.operator, each.operation, each.key, each.body, each.signature,
			each.player, each.receivedAt.UnixMicro(), each.leaseUntil.UnixMicro())
		if err != nil {
			return err
		}
		rows, err := result.RowsAffected()
		if err != nil {
			return err
		}
		each.isNew = rows == 1
	}
	return transaction.Commit()
}
