package httpd

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
)

// onlyReads answers GET and HEAD: nothing here can be changed.
func onlyReads(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD are answered", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// onlyNames answers those who ask for this host: by an address, as localhost, or by a name that is its own or allowed. A page
// of somebody else's in a browser of this host has another name, which its owner may point here (DNS rebinding).
func onlyNames(names []string, next http.Handler) http.Handler {
	allowed := []string{"localhost"}
	if own, err := os.Hostname(); err == nil {
		allowed = append(allowed, canonical(own))
	}
	for _, name := range names {
		allowed = append(allowed, canonical(name))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host := hostOnly(r.Host); host != "" && !isAddress(host) && !slices.Contains(allowed, canonical(host)) {
			http.Error(w, fmt.Sprintf("host %s: not a name of this daemon: ask by address, or start it with --listen-name", strconv.QuoteToASCII(host)), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// CheckName holds that a name can be that of a host.
func CheckName(name string) error {
	plain := canonical(name)
	if plain == "" || len(plain) > 253 || strings.ContainsFunc(plain, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.", r))
	}) {
		return fmt.Errorf("want the name of a host: letters, digits, hyphens and dots, without a port")
	}
	return nil
}

// canonical is how names are compared.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// hostOnly is a Host header without its port.
func hostOnly(header string) string {
	if host, _, err := net.SplitHostPort(header); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(header, "["), "]")
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
