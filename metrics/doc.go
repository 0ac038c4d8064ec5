// Package metrics shows what the daemon does: Prometheus metrics, and whether it lives and is ready. It is the only
// package that knows the Prometheus library. It listens to the loop's events and asks the bridges for counters when it is
// scraped; it changes nothing.
//
//	m := metrics.New(version, ofctl, vswitchd)
//	loop.Observe = m.Observe
//	http.Serve(listener, m.Handler())
package metrics
