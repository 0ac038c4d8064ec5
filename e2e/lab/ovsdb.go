//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// transact sends one transaction to an ovsdb-server (RFC 7047, section 4.1.3) and returns the result of each operation.
func transact(ctx context.Context, socket string, operations ...map[string]any) ([]json.RawMessage, error) {
	ctx, cancel := bounded(ctx, toolTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	params := []any{"Open_vSwitch"}
	for _, op := range operations {
		params = append(params, op)
	}
	if err := json.NewEncoder(conn).Encode(map[string]any{"method": "transact", "params": params, "id": 0}); err != nil {
		return nil, fmt.Errorf("send transaction: %w", err)
	}
	var reply struct {
		Result []json.RawMessage
		Error  json.RawMessage
	}
	if err := json.NewDecoder(conn).Decode(&reply); err != nil {
		return nil, fmt.Errorf("read the transaction's reply: %w", err)
	}
	if len(reply.Error) > 0 && string(reply.Error) != "null" {
		return nil, fmt.Errorf("transaction refused: %s", reply.Error)
	}
	for _, r := range reply.Result {
		var failed struct{ Error, Details string }
		if json.Unmarshal(r, &failed) == nil && failed.Error != "" {
			return nil, fmt.Errorf("transaction failed: %s: %s", failed.Error, failed.Details)
		}
	}
	if len(reply.Result) < len(operations) {
		return nil, fmt.Errorf("transaction has %d results for %d operations", len(reply.Result), len(operations))
	}
	return reply.Result, nil
}

// selectRows reads columns of the rows of a table that meet the conditions.
func selectRows(ctx context.Context, socket, table string, where []any, columns []string, into any) error {
	if where == nil {
		where = []any{}
	}
	results, err := transact(ctx, socket, map[string]any{"op": "select", "table": table, "where": where, "columns": columns})
	if err != nil {
		return fmt.Errorf("read table %s: %w", table, err)
	}
	var rows struct{ Rows json.RawMessage }
	if err := json.Unmarshal(results[0], &rows); err != nil {
		return fmt.Errorf("read table %s: %w", table, err)
	}
	if err := json.Unmarshal(rows.Rows, into); err != nil {
		return fmt.Errorf("read table %s: %w", table, err)
	}
	return nil
}

// PutKeys sets keys of the Open_vSwitch row's external_ids, as somebody does by hand, in one transaction. Unlike an
// argument of ovs-vsctl, a value may be megabytes long.
func (h *Host) PutKeys(ctx context.Context, keys map[string]string) error {
	names, pairs := []any{}, []any{}
	for key, value := range keys {
		names = append(names, key)
		pairs = append(pairs, []any{key, value})
	}
	_, err := transact(ctx, h.DBSocket(), map[string]any{"op": "mutate", "table": "Open_vSwitch", "where": []any{}, "mutations": []any{
		[]any{"external_ids", "delete", []any{"set", names}}, // inserting leaves a key alone that is there
		[]any{"external_ids", "insert", []any{"map", pairs}},
	}})
	if err != nil {
		return fmt.Errorf("%s: write keys by hand: %w", h, err)
	}
	return nil
}

// AddPort adds an internal port of any name to a bridge, also one that ovs-vsctl would take for an option.
func (h *Host) AddPort(ctx context.Context, bridge, name string) error {
	_, err := transact(ctx, h.DBSocket(),
		map[string]any{"op": "insert", "table": "Interface", "uuid-name": "i", "row": map[string]any{"name": name, "type": "internal"}},
		map[string]any{"op": "insert", "table": "Port", "uuid-name": "p", "row": map[string]any{"name": name, "interfaces": []any{"named-uuid", "i"}}},
		map[string]any{"op": "mutate", "table": "Bridge", "where": []any{[]any{"name", "==", bridge}},
			"mutations": []any{[]any{"ports", "insert", []any{"named-uuid", "p"}}}},
		map[string]any{"op": "mutate", "table": "Open_vSwitch", "where": []any{}, "mutations": []any{[]any{"next_cfg", "+=", 1}}},
	)
	if err != nil {
		return fmt.Errorf("%s: add port %q: %w", h, name, err)
	}
	return h.checkPort(ctx, name)
}
