// Package controller makes every bridge what the sessions wish: observe, plan, apply. Commands call Reconcile once; a
// daemon calls it whenever something changed. It owns the interfaces through which it sees Open vSwitch, and knows
// neither libovsdb nor ovs-ofctl.
//
//	c := controller.Controller{DB: db, OpenFlow: ofctl, Vswitchd: daemon, Underlay: underlay, …}
//	result, err := c.Reconcile(ctx)
package controller
