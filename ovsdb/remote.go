package ovsdb

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ovn-kubernetes/libovsdb/client"

	"github.com/ovs-erspan/ovs-erspan/session"
	"github.com/ovs-erspan/ovs-erspan/unixsocket"
)

// Options say which database to connect to.
type Options struct {
	// RunDir is where Open vSwitch has its sockets; its db.sock is the default.
	RunDir string
	// Remote is unix:PATH, tcp:IP:PORT or ssl:IP:PORT, as in ovsdb(7), "Active Connection Methods"; "" is the default.
	Remote string
	// PrivateKey, Certificate and CACert are files in PEM, for ssl.
	PrivateKey, Certificate, CACert string
	// Echo is how often ovsdb-server is asked for a sign of life (EchoInterval); 0: never, for who bounds each call anyway.
	Echo time.Duration
}

// Check tells, without connecting, what is wrong with the options.
func (o Options) Check() error {
	method, where, _ := strings.Cut(o.Remote, ":")
	fault := &session.FieldError{Field: "--db", Value: o.Remote, Allowed: "unix:PATH, tcp:IP:PORT or ssl:IP:PORT"}
	switch {
	case o.Remote == "":
	case method == "unix" && where != "":
	case method == "unix":
		fault.Reason = "names no path"
		return fault
	case method == "tcp" || method == "ssl":
		if _, err := endpoint(where); err != nil {
			fault.Reason = err.Error()
			return fault
		}
	default:
		fault.Reason = "is no way to a database"
		return fault
	}
	for _, file := range []struct{ flag, path string }{{"--private-key", o.PrivateKey}, {"--certificate", o.Certificate}, {"--ca-cert", o.CACert}} {
		switch {
		case method == "ssl" && file.path == "":
			return &session.FieldError{Field: file.flag, Reason: "is missing", Allowed: "a file in PEM", Remedy: "ssl needs --private-key, --certificate and --ca-cert"}
		case method != "ssl" && file.path != "":
			return &session.FieldError{Field: file.flag, Value: file.path, Reason: "is for ssl only", Remedy: "leave it out, or give --db ssl:IP:PORT"}
		}
	}
	return nil
}

// endpoint is IP:PORT, an IPv6 address in brackets; without a port it is the one of OVSDB (RFC 7047, section 6).
func endpoint(text string) (string, error) {
	const port = ":6640"
	if _, err := netip.ParseAddrPort(text); err != nil {
		text += port
	}
	a, err := netip.ParseAddrPort(text)
	switch {
	case err != nil:
		return "", errors.New("has no IP address and port")
	case a.Port() == 0:
		return "", fmt.Errorf("has port %s", strconv.Itoa(0))
	}
	return a.String(), nil
}

// remote is a database as the client takes it.
type remote struct {
	name     string // for errors
	endpoint string
	tls      *tls.Config
	release  func()
	err      error // of the way to its socket
}

func (o Options) remote() (remote, error) {
	if err := o.Check(); err != nil {
		return remote{}, err
	}
	method, where, _ := strings.Cut(o.Remote, ":")
	switch method {
	case "tcp", "ssl":
		at, _ := endpoint(where) // checked
		r := remote{name: method + ":" + at, endpoint: "tcp:" + at, release: func() {}}
		if method == "ssl" {
			r.endpoint = "ssl:" + at
			var err error
			r.tls, err = o.tls()
			return r, err
		}
		return r, nil
	case "":
		where = filepath.Join(o.RunDir, "db.sock")
	default:
		if !filepath.IsAbs(where) {
			where = filepath.Join(o.RunDir, where) // as Open vSwitch's own programs do
		}
	}
	path, err := filepath.Abs(where)
	if err != nil {
		return remote{}, fmt.Errorf("socket of the database: %w", err)
	}
	r := remote{name: path, release: func() {}}
	short, release, err := unixsocket.Short(path)
	if err != nil {
		r.err = err
		return r, nil
	}
	r.release = release
	// The client takes endpoints as URLs: a "%", "?" or "#" in the path must be quoted.
	r.endpoint = (&url.URL{Scheme: client.UNIX, Path: short}).String()
	return r, nil
}

// tls trusts whom the CA has signed, by whatever name: Open vSwitch's certificates name no hosts (ovs-pki(8)), and its own
// programs do not look at names either (lib/stream-ssl.c).
func (o Options) tls() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(o.Certificate, o.PrivateKey)
	if err != nil {
		return nil, &session.FieldError{Field: "--certificate", Value: o.Certificate, Reason: "cannot be used with --private-key " + o.PrivateKey + ": " + err.Error(), Allowed: "a certificate and its key, in PEM"}
	}
	text, err := os.ReadFile(o.CACert)
	if err != nil {
		return nil, &session.FieldError{Field: "--ca-cert", Value: o.CACert, Reason: "cannot be read: " + err.Error(), Allowed: "a certificate in PEM"}
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, &session.FieldError{Field: "--ca-cert", Value: o.CACert, Reason: "has no certificate", Allowed: "a certificate in PEM"}
	}
	verify := func(state tls.ConnectionState) error {
		options := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
		for _, c := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(c)
		}
		_, err := state.PeerCertificates[0].Verify(options)
		return err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, VerifyConnection: verify, // the chain is verified, names are not
	}, nil
}
