package controller

import "github.com/ovs-erspan/ovs-erspan/flows"

// Isolation is how far the host's own stack is kept from what the userspace datapath reads from devices of ours.
type Isolation struct {
	Changes []string // what has to change, for people
	Err     error    // why that is not known
}

// isolation looks at it. A host without the userspace datapath is not asked.
func (c *Controller) isolation(state flows.State, p flows.Program) (is Isolation) {
	if state.HasUserspace() {
		is.Changes, is.Err = c.Underlay.Isolation(state.UUID, p.Isolated())
	}
	return is
}

// isolate keeps the host's own stack from the devices. Where that cannot be, the sessions are in force all the same:
// the stack got what arrives there before, too. doctor tells of it.
func (c *Controller) isolate(plan Plan, devices []string, result *Result) {
	err := plan.Isolation.Err
	if len(plan.Isolation.Changes) > 0 {
		c.reached("isolate")
		var n int
		n, err = c.Underlay.Isolate(plan.Input.State.UUID, devices)
		result.Isolated += n
	}
	if len(devices) == 0 {
		err = nil
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != c.leak {
		c.Log.Warn("the host's own stack also gets what arrives at the devices of destination sessions", "devices", devices, "error", err)
	}
	c.leak = text
}
