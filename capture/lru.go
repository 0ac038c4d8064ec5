package capture

// lru is a table of bounded size: when it is full, the entry that was used longest ago goes.
type lru[K comparable, V any] struct {
	max     int
	entries map[K]*lruEntry[K, V]
	// The ring of entries: ring.next was used last, ring.previous first.
	ring    lruEntry[K, V]
	evicted uint64
}

type lruEntry[K comparable, V any] struct {
	key            K
	value          V
	previous, next *lruEntry[K, V]
}

// newLRU is an empty table for at most max entries.
func newLRU[K comparable, V any](max int) *lru[K, V] {
	t := &lru[K, V]{max: max, entries: make(map[K]*lruEntry[K, V])}
	t.ring.previous, t.ring.next = &t.ring, &t.ring
	return t
}

// get is the entry of a key, new if there was none.
func (t *lru[K, V]) get(key K) (e *lruEntry[K, V], isNew bool) {
	if e, ok := t.entries[key]; ok {
		t.touch(e)
		return e, false
	}
	if len(t.entries) >= t.max {
		oldest := t.ring.previous
		oldest.unlink()
		oldest.previous = nil // which tells who still holds it
		delete(t.entries, oldest.key)
		t.evicted++
	}
	e = &lruEntry[K, V]{key: key}
	t.entries[key] = e
	t.link(e)
	return e, true
}

// touch marks an entry that get gave back before as used. It reports false when the entry has been evicted since.
func (t *lru[K, V]) touch(e *lruEntry[K, V]) bool {
	switch {
	case t.ring.next == e:
	case e.previous == nil:
		return false
	default:
		e.unlink()
		t.link(e)
	}
	return true
}

// link puts the entry in front.
func (t *lru[K, V]) link(e *lruEntry[K, V]) {
	e.previous, e.next = &t.ring, t.ring.next
	e.previous.next, e.next.previous = e, e
}

// unlink takes the entry out of the ring.
func (e *lruEntry[K, V]) unlink() { e.previous.next, e.next.previous = e.next, e.previous }

// all calls f for each entry, the one used last first.
func (t *lru[K, V]) all(f func(K, *V)) {
	for e := t.ring.next; e != &t.ring; e = e.next {
		f(e.key, &e.value)
	}
}
