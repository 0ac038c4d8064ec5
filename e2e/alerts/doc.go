// Package alerts lets Prometheus' own engine judge the alert rules that ovs-erspan is shipped with, over what its daemon really
// shows in labs in which something is broken.
package alerts
