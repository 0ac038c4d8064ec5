//go:build linux

package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// DumpFlows lists a bridge's OpenFlow flows, cookies included, without counters and times, sorted.
func (h *Host) DumpFlows(ctx context.Context, bridge string) ([]string, error) {
	out, err := h.Ofctl(ctx, "--no-stats", "--no-names", "dump-flows", bridge)
	if err != nil {
		return nil, err
	}
	flows := []string{}
	for line := range strings.Lines(out) {
		if line = strings.TrimSpace(line); line != "" {
			flows = append(flows, line)
		}
	}
	slices.Sort(flows)
	return flows, nil
}

// snapshotTables are the tables that DumpRows reads: all that a host's switch is made of.
var snapshotTables = []string{
	"Open_vSwitch", "Bridge", "Port", "Interface", "Mirror", "Controller", "Manager", "QoS", "Queue", "NetFlow", "sFlow",
	"IPFIX", "Flow_Sample_Collector_Set", "Flow_Table", "AutoAttach", "SSL",
}

// volatile are the columns that change without anyone's wish.
var volatile = map[string][]string{
	"Open_vSwitch": {"cur_cfg", "next_cfg", "statistics"},
	"Bridge":       {"status", "rstp_status"},
	"Port":         {"statistics", "status", "rstp_status", "rstp_statistics", "bond_active_slave"},
	"Interface": {"statistics", "status", "ifindex", "link_state", "link_speed", "link_resets", "duplex", "admin_state",
		"bfd_status", "cfm_fault", "cfm_fault_status", "cfm_flap_count", "cfm_health", "cfm_remote_mpids",
		"cfm_remote_opstate", "lacp_current"},
	"Mirror":     {"statistics"},
	"Controller": {"status", "is_connected", "role"},
	"Manager":    {"status", "is_connected"},
}

// Row is a row of the database without its volatile columns.
type Row struct {
	Table   string
	UUID    string
	Name    string                     // the column "name" or "target", if the table has one
	Columns map[string]json.RawMessage // as in RFC 7047, section 5.1; of sets and maps the order is OVS's, sorted
}

// Rows are rows of the database, sorted by table, name and UUID.
type Rows []Row

// DumpRows reads the rows of all tables that make up the switch, at one moment.
func (h *Host) DumpRows(ctx context.Context) (Rows, error) {
	var ops []map[string]any
	for _, t := range snapshotTables {
		ops = append(ops, map[string]any{"op": "select", "table": t, "where": []any{}})
	}
	results, err := transact(ctx, h.DBSocket(), ops...)
	if err != nil {
		return nil, fmt.Errorf("%s: dump rows: %w", h, err)
	}
	rows := Rows{}
	for i, table := range snapshotTables {
		var found struct{ Rows []map[string]json.RawMessage }
		if err := json.Unmarshal(results[i], &found); err != nil {
			return nil, fmt.Errorf("%s: dump rows of table %s: %w", h, table, err)
		}
		for _, columns := range found.Rows {
			row := Row{Table: table, UUID: uuidOf(columns["_uuid"]), Columns: columns}
			for _, c := range append([]string{"_uuid", "_version"}, volatile[table]...) {
				delete(columns, c)
			}
			for _, c := range []string{"name", "target"} {
				if row.Name == "" {
					_ = json.Unmarshal(columns[c], &row.Name)
				}
			}
			rows = append(rows, row)
		}
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return strings.Compare(a.key(), b.key())
	})
	return rows, nil
}

func (r Row) key() string { return r.Table + " " + r.Name + " " + r.UUID }

// ExternalIDs are the row's external_ids.
func (r Row) ExternalIDs() map[string]string {
	ids := make(map[string]string)
	for _, pair := range pairsOf(r.Columns["external_ids"]) {
		ids[pair[0]] = pair[1]
	}
	return ids
}

// Store is what ovs-erspan's session store says: the keys of its own row, or, where there is none, of the Open_vSwitch row.
func (rows Rows) Store() map[string]string {
	keys := map[string]string{}
	for _, r := range rows {
		ids := r.ExternalIDs()
		if r.Table == "Queue" && ids["ovs-erspan"] == "store" {
			return ids
		}
		if r.Table == "Open_vSwitch" {
			keys = ids
		}
	}
	return keys
}

// Without leaves out what belongs to an owner, and so is what the owner must not have changed: rows with owner as a key
// of their external_ids, references to such rows, and keys that begin with owner and a dot in other rows' external_ids.
func (rows Rows) Without(owner string) Rows {
	owned := make(map[string]bool)
	for _, r := range rows {
		if _, ok := r.ExternalIDs()[owner]; ok {
			owned[r.UUID] = true
		}
	}
	rest := Rows{}
	for _, r := range rows {
		if owned[r.UUID] {
			continue
		}
		columns := make(map[string]json.RawMessage, len(r.Columns))
		for name, value := range r.Columns {
			if name == "external_ids" {
				columns[name] = withoutKeys(value, owner+".")
			} else {
				columns[name] = withoutReferences(value, owned)
			}
		}
		r.Columns = columns
		rest = append(rest, r)
	}
	return rest
}

// Lines renders the rows, one column a line, for comparison.
func (rows Rows) Lines() []string {
	lines := []string{}
	for _, r := range rows {
		for _, c := range slices.Sorted(maps.Keys(r.Columns)) {
			lines = append(lines, fmt.Sprintf("%s: %s=%s", r.key(), c, r.Columns[c]))
		}
	}
	return lines
}

// The wire format of values (RFC 7047, section 5.1): an atom, ["uuid", "…"], ["set", […]] or ["map", [[k, v], …]].

func taggedOf(value json.RawMessage, tag string) json.RawMessage {
	var pair []json.RawMessage
	var got string
	if json.Unmarshal(value, &pair) != nil || len(pair) != 2 || json.Unmarshal(pair[0], &got) != nil || got != tag {
		return nil
	}
	return pair[1]
}

func uuidOf(value json.RawMessage) string {
	var id string
	_ = json.Unmarshal(taggedOf(value, "uuid"), &id)
	return id
}

func pairsOf(value json.RawMessage) [][2]string {
	var pairs [][2]string
	_ = json.Unmarshal(taggedOf(value, "map"), &pairs)
	return pairs
}

func withoutKeys(value json.RawMessage, prefix string) json.RawMessage {
	kept := [][2]string{}
	for _, p := range pairsOf(value) {
		if !strings.HasPrefix(p[0], prefix) {
			kept = append(kept, p)
		}
	}
	return encode("map", kept)
}

// withoutReferences removes UUIDs from a set of them. A set of one is written as its element.
func withoutReferences(value json.RawMessage, gone map[string]bool) json.RawMessage {
	if id := uuidOf(value); id != "" {
		if gone[id] {
			return encode("set", []any{})
		}
		return value
	}
	var elements []json.RawMessage
	if json.Unmarshal(taggedOf(value, "set"), &elements) != nil || len(elements) == 0 || uuidOf(elements[0]) == "" {
		return value
	}
	elements = slices.DeleteFunc(elements, func(e json.RawMessage) bool { return gone[uuidOf(e)] })
	if len(elements) == 1 {
		return elements[0]
	}
	return encode("set", elements)
}

func encode(tag string, v any) json.RawMessage {
	b, err := json.Marshal([]any{tag, v})
	if err != nil {
		panic(err) // strings, and JSON that was parsed
	}
	return b
}
