//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/e2e/lab"
)

// keptView is what `session show -o json` says of the counters of a session; nil is null.
type keptView struct {
	Status struct {
		State                        string
		Tapped, Matched, Sent, Lost  *count
		CountersSince, CountersUntil *time.Time
	}
}

func (s *scene) kept(name string) (v keptView) {
	s.t.Helper()
	s.must(json.Unmarshal([]byte(s.ok("session", "show", name, "-o", "json")), &v))
	return v
}

// TestCountersSurviveDisable: what a session has counted is still there when it is stopped, marked with until when; who runs
// beside it counts on, and enabling it begins anew. With a daemon and without.
func TestCountersSurviveDisable(t *testing.T) {
	t.Parallel()
	for _, with := range []string{"command", "daemon", "alone"} {
		t.Run(with, func(t *testing.T) {
			s := newScene(t)
			s.ping(s.a, addrB, 1)
			if with == "daemon" {
				s.daemon("--listen", "127.0.0.1:9475").ready()
			}
			s.add("web", "--source", "vnet0")
			if with != "alone" { // with the last session the tap bridge goes, and nobody asks for the way to its collector
				s.add("beside", "--source", "vnet0", "--session-id", "9")
			}
			s.ping(s.a, addrB, 5)
			counted := func(what string, is func(v keptView) bool) (v keptView) {
				s.t.Helper()
				s.must(lab.Until(s.ctx, what, func(context.Context) error {
					if v = s.kept("web"); !is(v) {
						return fmt.Errorf("%+v", v)
					}
					return nil
				}))
				return v
			}
			// Ten frames, and what ARP adds.
			before := counted("all is counted", func(v keptView) bool { return v.Status.Sent != nil && v.Status.Sent.Packets >= 10 })
			if before.Status.CountersUntil != nil {
				t.Errorf("a session that runs has counted until %s", before.Status.CountersUntil)
			}
			s.ok("session", "disable", "web")
			last := s.kept("web")
			if last.Status.Sent == nil || last.Status.Sent.Packets < before.Status.Sent.Packets {
				t.Fatalf("stopped: %+v, before that %+v", last.Status, before.Status)
			}
			check := func(when string) {
				s.t.Helper()
				v := s.kept("web")
				if v.Status.State != "Disabled" || v.Status.CountersUntil == nil || !v.Status.CountersUntil.Equal(*last.Status.CountersUntil) || *v.Status.Sent != *last.Status.Sent || *v.Status.Tapped != *last.Status.Tapped {
					t.Errorf("%s: %+v, when it was stopped %+v", when, v.Status, last.Status)
				}
				if text := s.ok("session", "list"); !strings.Contains(text, "web: counted until ") {
					t.Errorf("%s: list says\n%s", when, text)
				}
				if text := s.ok("session", "show", "web"); !strings.Contains(text, "counted until ") {
					t.Errorf("%s: show says\n%s", when, text)
				}
			}
			check("stopped")
			s.ping(s.a, addrB, 2)
			s.ok("session", "disable", "web") // again, which is no other end
			if with != "alone" {
				s.ok("session", "set", "beside", "--session-id", "10")
			}
			check("stopped, and others are changed")
			if with == "daemon" {
				want := fmt.Sprintf(`ovs_erspan_session_packets_total{bridge="br0",session="web",stage="sent"} %d`, last.Status.Sent.Packets)
				s.must(lab.Until(s.ctx, "the metric stays", func(context.Context) error {
					if _, body, err := httpGet(s.host, "127.0.0.1:9475", "/metrics"); err != nil || !strings.Contains(body, want) {
						return fmt.Errorf("%v: no %s", err, want)
					}
					return nil
				}))
			}
			s.ok("session", "enable", "web")
			v := s.kept("web")
			if v.Status.CountersUntil != nil || v.Status.Sent == nil || v.Status.Sent.Packets >= last.Status.Sent.Packets {
				t.Errorf("enabled again: %+v", v)
			}
		})
	}
}
