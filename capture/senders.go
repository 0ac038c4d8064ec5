package capture

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// What one sender is answered: as many as `session verify` sends of its largest, and then little.
const (
	answersPerSender   = 100 // a second
	answersAtOnce      = 512
	senderBuckets      = 1 << 16
	senderNetworkBits6 = 64 // who has an IPv6 address mostly has the whole subnet
)

// senderLimits bounds the answers to each sender. Its size is fixed: senders share a bucket where a secret hash says so. So
// nobody can push a sender out to have it begin anew, nor choose addresses that empty another's bucket.
type senderLimits struct {
	seed    maphash.Seed
	started time.Time
	buckets []senderBucket
}

// senderBucket is what was taken of a bucket when it was last used; the rest flows back with time.
type senderBucket struct {
	taken float32
	at    float64 // seconds since the start
}

func newSenderLimits(now time.Time) *senderLimits {
	return &senderLimits{seed: maphash.MakeSeed(), started: now, buckets: make([]senderBucket, senderBuckets)}
}

// bucket is that of a sender.
func (l *senderLimits) bucket(sender netip.Addr) *senderBucket {
	key := netip.PrefixFrom(sender, sender.BitLen())
	if sender.Is6() {
		key, _ = sender.WithZone("").Prefix(senderNetworkBits6)
	}
	return &l.buckets[maphash.Comparable(l.seed, key)%senderBuckets]
}

// allow tells whether one more answer may go to a sender, and counts it.
func (l *senderLimits) allow(sender netip.Addr, now time.Time) bool {
	b, seconds := l.bucket(sender), now.Sub(l.started).Seconds()
	b.taken = max(0, b.taken-float32(max(0, seconds-b.at)*answersPerSender))
	b.at = seconds
	if b.taken > answersAtOnce-1 {
		return false
	}
	b.taken++
	return true
}
