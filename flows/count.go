package flows

import "time"

// Count is packets and bytes at one stage. Bytes are those of the mirrored frames, before any cut.
type Count struct {
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

func (c *Count) add(e Entry) {
	c.Packets += e.Packets
	c.Bytes += e.Bytes
}

// Counters are a session's copies, stage by stage.
type Counters struct {
	Tapped   Count // that its taps delivered (taps are shared: also those of sessions on the same tap)
	Guarded  Count // of these, dropped because copies themselves caused them
	Matched  Count // of the rest, what its rules permit
	Filtered Count // and what they drop
	Limited  Count // of what matched, dropped because it came faster than the session's, or the host's, maximal rate
	Sent     Count // handed to the tunnel for one collector

	// Of a destination session.
	Terminated Count // what arrived with its header
	Delivered  Count // of it, sent to the output port
	Oversize   Count // and dropped, because the output port does not take so large a frame

	// Age is for how long the session's flow has been counting.
	Age time.Duration
}

// CountSession reads a session's counters out of its tap bridge's flows.
func CountSession(out *Outcome, entries []Entry) Counters {
	var c Counters
	if out == nil || out.TapBridge == "" {
		return c
	}
	taps := map[uint32]bool{}
	for _, t := range out.Taps {
		taps[uint32(t.OFPort)] = true
	}
	var passed, limit Count
	var meters metering
	for _, e := range entries {
		if !e.Cookie.Ours() {
			continue
		}
		switch stage := e.Cookie.Stage(); {
		case stage == StageArrived && taps[e.Cookie.Slot()]:
			c.Tapped.add(e)
		case (stage == StageTapped || stage == StageTappedStrip) && taps[e.Cookie.Slot()]:
			passed.add(e)
		case e.Cookie.Slot() != out.Slot:
		case stage == StageTerminated:
			c.Terminated.add(e)
			c.Age = e.Age
		case stage == StageDelivered:
			c.Delivered.add(e)
		case stage == StageOversize: // counts every frame; the meter does not
		case stage == StageLimit:
			limit.add(e)
		case meters.take(e):
		case stage < StageRestPermit || stage > StageSent && stage < StagePermit:
		case stage == StageSent:
			c.Sent.add(e)
			c.Age = e.Age
		default:
			switch filters, drops := stage.Filters(); {
			case drops:
				c.Filtered.add(e)
			case filters:
				c.Matched.add(e)
			}
		}
	}
	// What arrived and did not pass was guarded. The two are read one after the other, so the difference can be short of
	// a packet that is on its way.
	c.Guarded = Count{less(c.Tapped.Packets, passed.Packets), less(c.Tapped.Bytes, passed.Bytes)}
	if !out.Filtered {
		c.Matched = c.Sent
	}
	if out.Measured {
		c.Oversize = meters.given
		c.Delivered = c.Delivered.without(meters.given)
	}
	if out.Limited {
		// What comes after a meter counts in Open vSwitch what was given to the meter: only the meter knows what passed. It
		// begins anew when its rate is changed.
		if !out.Filtered {
			c.Matched = limit
		}
		c.Sent, c.Limited = meters.result()
		c.Age = min(c.Age, meters.age)
	}
	return c
}

// Plus is both together.
func (c Count) Plus(o Count) Count { return Count{c.Packets + o.Packets, c.Bytes + o.Bytes} }

func (c Count) without(o Count) Count {
	return Count{less(c.Packets, o.Packets), less(c.Bytes, o.Bytes)}
}

func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// NotInForce names the sessions that the changes concern: what is programmed for them is not what is planned.
func NotInForce(p Program, rows Changes, flowChanges map[string]FlowChanges) map[string]bool {
	concerned := map[string]bool{}
	ports := map[string]bool{}   // of ours that change
	mirrors := map[string]bool{} // that change, by name
	bridges := map[string]bool{} // tap bridges that change as a whole
	numbers := map[string]bool{} // tap bridge and tap port number
	slots := map[string]bool{}   // tap bridge and slot
	receive := map[string]bool{} // tap bridges whose reading of headers changes
	key := func(bridge string, n uint32) string { return bridge + "/" + hexNumber(uint64(n)) }
	for _, op := range append(append([]RowOp{}, rows.Before...), rows.After...) {
		switch {
		case op.AddBridge != nil, op.SetBridge != nil:
			bridges[op.Bridge] = true
		case op.AddPort != nil:
			ports[op.AddPort.Name] = true
		case op.SetPort != nil:
			ports[op.SetPort.Name] = true
		case op.AddMirror != nil:
			mirrors[op.AddMirror.Name] = true
		case op.SetMirror != nil:
			mirrors[op.SetMirror.Name] = true
		}
	}
	for bridge, c := range flowChanges {
		if c.MatchFragments {
			bridges[bridge] = true
		}
		for _, m := range append(append([]Meter{}, c.AddMeters...), c.SetMeters...) {
			if m.ID == hostMeter {
				bridges[bridge] = true
			}
			slots[key(bridge, m.ID&^passedMeters)] = true
		}
		for _, l := range append(append([]Line{}, c.Add...), c.Delete...) {
			switch {
			case !l.Cookie.Ours() || l.Cookie.Stage() == StageGuard || l.Cookie.Stage() == StageNone:
				bridges[bridge] = true
			case l.Cookie.Stage() == StageHostLimit:
				bridges[bridge] = true
			case l.Cookie.Stage() >= StageReceived && l.Cookie.Stage() <= StageUnmatched && l.Cookie.Stage() != StageTerminated:
				receive[bridge] = true
			case l.Table == TableClassify || l.Table == TableGuard:
				numbers[key(bridge, l.Cookie.Slot())] = true
			default:
				slots[key(bridge, l.Cookie.Slot())] = true
			}
		}
	}
	for name, out := range p.Outcomes {
		if out.TapBridge == "" {
			continue
		}
		hit := bridges[out.TapBridge] || slots[key(out.TapBridge, out.Slot)]
		for _, co := range out.Collectors {
			hit = hit || ports[co.tunnel]
		}
		for _, port := range out.receives {
			hit = hit || ports[port] || receive[out.TapBridge]
		}
		if d := out.Delivery; d != nil {
			hit = hit || numbers[key(d.Bridge, uint32(d.ProductionOFPort))]
		}
		for _, t := range out.Taps {
			hit = hit || ports[t.TapPort] || ports[t.ProductionPort] || ports[t.Devices.In] || ports[t.Devices.Out] || mirrors[t.MirrorName()] || numbers[key(out.TapBridge, uint32(t.OFPort))]
		}
		if hit {
			concerned[name] = true
		}
	}
	return concerned
}

// CountAll reads the counters of all sessions out of the flows of their tap bridges, by name.
func CountAll(p Program, entries map[string][]Entry) map[string]Counters {
	type number struct {
		bridge string
		n      uint32
	}
	index := map[number][]Entry{} // by the number in the cookie: a slot or a tap's
	for bridge, list := range entries {
		for _, e := range list {
			key := number{bridge, e.Cookie.Slot()}
			index[key] = append(index[key], e)
		}
	}
	counted := make(map[string]Counters, len(p.Outcomes))
	for name, out := range p.Outcomes {
		numbers := map[uint32]bool{out.Slot: true}
		for _, t := range out.Taps {
			numbers[uint32(t.OFPort)] = true
		}
		var concerned []Entry
		for n := range numbers {
			concerned = append(concerned, index[number{out.TapBridge, n}]...)
		}
		counted[name] = CountSession(out, concerned)
	}
	return counted
}
