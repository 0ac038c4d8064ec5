//go:build linux

package lab

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"time"
)

// PingOptions says what Ping sends; the zero value is one packet of 56 bytes.
type PingOptions struct {
	Count    int           // 0 is 1
	Interval time.Duration // between packets; 0 is 10 ms
	Size     int           // bytes after the ICMP header; 0 is 56
	Wait     time.Duration // for the last reply; 0 is 1 s
	Args     []string      // more arguments of ping(8), such as -M do, -Q 0x28, -I eth1
}

// PingResult is what ping(8) counted.
type PingResult struct {
	Sent, Received, Duplicates, Errors int
	Output                             string
}

var (
	pingSummary    = regexp.MustCompile(`(\d+) packets transmitted, (\d+) received`)
	pingDuplicates = regexp.MustCompile(`\+(\d+) duplicates`)
	pingErrors     = regexp.MustCompile(`\+(\d+) errors`)
)

// Ping sends echo requests from a node. That replies are missing is a result and not an error.
func Ping(ctx context.Context, from *Node, dst netip.Addr, o PingOptions) (PingResult, error) {
	count, interval, size, wait := max(o.Count, 1), o.Interval, o.Size, o.Wait
	if interval == 0 {
		interval = 10 * time.Millisecond
	}
	if size == 0 {
		size = 56
	}
	if wait == 0 {
		wait = time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(count)*interval+wait+10*time.Second)
	defer cancel()
	args := []string{"ping", "-n",
		"-c", strconv.Itoa(count),
		"-i", strconv.FormatFloat(interval.Seconds(), 'f', 4, 64),
		"-s", strconv.Itoa(size),
		"-W", strconv.FormatFloat(wait.Seconds(), 'f', 3, 64)}
	out, stderr, err := from.Exec(ctx, append(append(args, o.Args...), dst.String())...)
	m := pingSummary.FindStringSubmatch(out)
	if m == nil {
		return PingResult{}, fmt.Errorf("ping %s from %s: %w: no summary in %q %q", dst, from, err, out, stderr)
	}
	number := func(m []string, i int) int {
		if m == nil {
			return 0
		}
		n, _ := strconv.Atoi(m[i])
		return n
	}
	return PingResult{
		Sent: number(m, 1), Received: number(m, 2),
		Duplicates: number(pingDuplicates.FindStringSubmatch(out), 1),
		Errors:     number(pingErrors.FindStringSubmatch(out), 1),
		Output:     out,
	}, nil
}
