// Package unixsocket connects to Unix sockets whose paths are longer than the kernel takes, and tells whose they are.
// It knows nothing of what is spoken there.
package unixsocket
