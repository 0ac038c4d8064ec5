package ovsdb_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ovs-erspan/ovs-erspan/ovsdb"
	"github.com/ovs-erspan/ovs-erspan/ovsdb/ovsdbtest"
	"github.com/ovs-erspan/ovs-erspan/session"
)

// TestRemoteChecked: a way to the database that cannot be one is refused before anything is connected.
func TestRemoteChecked(t *testing.T) {
	tls := ovsdb.Options{PrivateKey: "k", Certificate: "c", CACert: "a"}
	with := func(o ovsdb.Options, remote string) ovsdb.Options { o.Remote = remote; return o }
	for remote, want := range map[string]string{
		"": "", "unix:/run/db.sock": "", "unix:db.sock": "", "tcp:127.0.0.1:6640": "", "tcp:[::1]:6640": "", "tcp:192.0.2.1": "", "ssl:192.0.2.1:6640": "",
		"unix:": "names no path", "tcp:": "no IP address", "tcp:localhost:6640": "no IP address", "tcp:127.0.0.1:0": "port 0", "tcp:127.0.0.1:70000": "no IP address",
		"ptcp:6640": "no way to a database", "/run/db.sock": "no way to a database", "ssl:": "no IP address",
	} {
		o := ovsdb.Options{Remote: remote}
		if strings.HasPrefix(remote, "ssl") {
			o = with(tls, remote)
		}
		err := o.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "unix:PATH")) {
			t.Errorf("%q: %v, want %q", remote, err, want)
		}
	}
	if err := (ovsdb.Options{Remote: "ssl:192.0.2.1"}).Check(); err == nil || !strings.Contains(err.Error(), "--private-key") {
		t.Errorf("ssl without a key: %v", err)
	}
	if err := with(tls, "tcp:192.0.2.1").Check(); err == nil || !strings.Contains(err.Error(), "for ssl only") {
		t.Errorf("tcp with a key: %v", err)
	}
}

// freePort is a TCP port of 127.0.0.1 that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// TestRemote: the database is reached over TCP and TLS; a certificate that another CA has signed is refused.
func TestRemote(t *testing.T) {
	s := ovsdbtest.Start(t)
	dir := t.TempDir()
	ours, others := newCA(t, dir, "ours"), newCA(t, dir, "others")
	server, mine := ours.sign(t, "server"), ours.sign(t, "mine")
	plain, secure := freePort(t), freePort(t)
	s.KillDatabase()
	s.StartDatabase("--private-key="+server.key, "--certificate="+server.cert, "--ca-cert="+ours.cert,
		"--remote=ptcp:"+plain+":127.0.0.1", "--remote=pssl:"+secure+":127.0.0.1")
	for name, o := range map[string]ovsdb.Options{
		"unix": {Remote: s.Remote()},
		"tcp":  {Remote: "tcp:127.0.0.1:" + plain},
		"ssl":  {Remote: "ssl:127.0.0.1:" + secure, PrivateKey: mine.key, Certificate: mine.cert, CACert: ours.cert},
	} {
		ovsdbtest.Eventually(t, name, func() bool {
			db, err := ovsdb.Open(context.Background(), o)
			if err != nil {
				t.Log(err)
				return false
			}
			defer db.Close()
			_, err = db.Update(context.Background(), func(*session.Wish) error { return nil })
			return err == nil
		})
	}
	wrong := ovsdb.Options{Remote: "ssl:127.0.0.1:" + secure, PrivateKey: mine.key, Certificate: mine.cert, CACert: others.cert}
	if _, err := ovsdb.Open(within(t, 5*time.Second), wrong); err == nil || !strings.Contains(err.Error(), "ssl:127.0.0.1:"+secure) || !strings.Contains(err.Error(), "unknown authority") {
		t.Errorf("a server of another CA: %v", err)
	}
	if _, err := ovsdb.Open(within(t, 5*time.Second), ovsdb.Options{Remote: "tcp:127.0.0.1:" + freePort(t)}); err == nil || !strings.Contains(err.Error(), "nobody listens") {
		t.Errorf("where nobody listens: %v", err)
	}
}

// authority is a CA for a test; pair is a key and what it signed for it.
type authority struct {
	dir, cert string
	key       *ecdsa.PrivateKey
	root      *x509.Certificate
}

type pair struct{ key, cert string }

func newCA(t *testing.T, dir, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	a := authority{dir, filepath.Join(dir, name+"-ca.pem"), key, root}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, a.cert, "CERTIFICATE", der)
	return a
}

func (a authority) sign(t *testing.T, name string) pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: a.root.NotBefore, NotAfter: a.root.NotAfter}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.root, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{filepath.Join(a.dir, name+"-key.pem"), filepath.Join(a.dir, name+"-cert.pem")}
	writePEM(t, p.cert, "CERTIFICATE", der)
	writePEM(t, p.key, "PRIVATE KEY", text)
	return p
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(fmt.Errorf("write %s: %w", path, err))
	}
}
