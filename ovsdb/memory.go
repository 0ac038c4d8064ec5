package ovsdb

import (
	"sync"

	"github.com/ovn-kubernetes/libovsdb/model"
)

// memory is what this connection saw of the store's row. We delete that row only when it wishes for nothing any more
// (Forget): one that goes with a wish in it was deleted by somebody else, and is remembered until there is a row again.
type memory struct {
	mu   sync.Mutex
	rows map[string]map[string]string // external_ids by UUID, as they were last told of
	lost *queueRow                    // as it was when it went
}

// told notes a row that came or changed.
func (m *memory) told(row model.Model) {
	if r, ok := row.(*queueRow); ok {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.rows == nil {
			m.rows = map[string]map[string]string{}
		}
		m.rows[r.UUID], m.lost = r.ExternalIDs, nil
	}
}

// gone notes a row that was deleted, or whose mark was.
func (m *memory) gone(row model.Model) {
	r, ok := row.(*queueRow)
	if !ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if keys := m.rows[r.UUID]; wishes(keys) {
		m.lost = &queueRow{UUID: r.UUID, ExternalIDs: keys}
	}
	delete(m.rows, r.UUID)
}

// knowsRow tells whether there is a row as far as was told of. Changes are told of a moment after they can be read.
func (m *memory) knowsRow() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rows) > 0
}

func (m *memory) lostRow() *queueRow {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lost
}
