package vswitchd_test

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/ovs-erspan/ovs-erspan/flows"
)

func TestRoutes(t *testing.T) {
	says := map[string]string{
		"192.0.2.9":   "src 192.0.2.1\ngateway ::\ndev br-ul\n",
		"203.0.113.9": "src 192.0.2.1\ngateway 192.0.2.254\ndev br-ul\n",
		"2001:db8::9": "src fe80::1\ngateway fe80::fe\ndev vtep0\n",
		"10.0.0.1":    "gateway 0.0.0.0\ndev br0\n", // without a source
	}
	c := serve(t, func(r request) map[string]any {
		if text, ok := says[r.Params[0]]; ok {
			return result(text)
		}
		return map[string]any{"result": nil, "error": "Not found\n"}
	})
	addr := netip.MustParseAddr
	want := map[netip.Addr]flows.Route{
		addr("192.0.2.9"):    {Device: "br-ul", Source: addr("192.0.2.1"), NextHop: addr("192.0.2.9")},
		addr("203.0.113.9"):  {Device: "br-ul", Source: addr("192.0.2.1"), NextHop: addr("192.0.2.254")},
		addr("2001:db8::9"):  {Device: "vtep0", Source: addr("fe80::1"), NextHop: addr("fe80::fe")},
		addr("10.0.0.1"):     {Device: "br0", NextHop: addr("10.0.0.1")},
		addr("198.51.100.1"): {},
	}
	var to []netip.Addr
	for a := range want {
		to = append(to, a)
	}
	got, err := c.Routes(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if got, err := c.Routes(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("no question: %v, %v", got, err)
	}
	c = serve(t, func(request) map[string]any { return map[string]any{"result": nil, "error": "Invalid parameters\n"} })
	if _, err := c.Routes(t.Context(), to[:1]); err == nil {
		t.Error("what ovs-vswitchd refuses is taken for no route")
	}
}
