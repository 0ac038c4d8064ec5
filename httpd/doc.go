// Package httpd serves HTTP to a few clients, and goes on when many come: how many connections there are at a time is bounded,
// and one more closes the one that is least of use, so that whoever asks gets in. It answers GET and HEAD, under the names of
// this host only. It knows nothing of what is served.
package httpd
