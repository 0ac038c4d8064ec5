package capture

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Ring says when a new output file begins, and how many are kept, as dumpcap's option -b does.
type Ring struct {
	FileSize int64         // bytes; 0 is no limit
	Duration time.Duration // 0 is no limit
	Packets  uint64        // 0 is no limit
	Files    int           // 0 keeps all
}

// ParseRing reads values of -b: "filesize:KB" (of 1000 bytes), "duration:SECONDS", "packets:N" and "files:N".
func ParseRing(values []string) (*Ring, error) {
	if len(values) == 0 {
		return nil, nil
	}
	r := &Ring{}
	for _, v := range values {
		name, text, ok := strings.Cut(v, ":")
		n, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil || n == 0 {
			if name == "duration" { // also with a fraction or a unit
				if d, err := parseSeconds(text); err == nil && d > 0 {
					r.Duration = d
					continue
				}
			}
			return nil, fmt.Errorf("-b %s: want filesize:KB, duration:SECONDS, packets:N or files:N, each from 1", v)
		}
		switch name {
		case "filesize":
			r.FileSize = int64(n) * 1000
		case "duration":
			r.Duration = time.Duration(n) * time.Second
		case "packets":
			r.Packets = n
		case "files":
			r.Files = int(n)
		default:
			return nil, fmt.Errorf("-b %s: want filesize:KB, duration:SECONDS, packets:N or files:N, each from 1", v)
		}
	}
	if r.FileSize == 0 && r.Duration == 0 && r.Packets == 0 {
		return nil, errors.New("-b files:N says how many files are kept, and needs one of filesize:, duration:, packets: to say when a new one begins")
	}
	return r, nil
}

// parseSeconds reads "1.5" or "90s".
func parseSeconds(s string) (time.Duration, error) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if f < 0 || f > 1e9 {
			return 0, errors.New("out of range")
		}
		return time.Duration(f * float64(time.Second)), nil
	}
	return time.ParseDuration(s)
}

// Output is a pcapng file, or a ring of them.
type Output struct {
	path    string
	ring    *Ring
	now     func() time.Time
	file    *os.File
	writer  *PcapngWriter
	began   time.Time
	packets uint64
	number  int
	kept    []string
}

// OutputOptions of [NewOutput].
type OutputOptions struct {
	Ring *Ring            // nil writes one file
	Now  func() time.Time // nil is time.Now
}

// NewOutput begins to write to path, "-" for standard output. An existing file is overwritten. Files of a ring are
// named as dumpcap names them: out.pcapng becomes out_00001_20260102150405.pcapng.
func NewOutput(path string, o OutputOptions) (*Output, error) {
	w := &Output{path: path, ring: o.Ring, now: o.Now}
	if w.now == nil {
		w.now = time.Now
	}
	if path == "-" && o.Ring != nil {
		return nil, errors.New("-b needs files to write to, not standard output")
	}
	return w, w.open()
}

// open begins the next file.
func (w *Output) open() error {
	w.began, w.packets = w.now(), 0
	if w.path == "-" {
		w.file = os.Stdout
		w.writer = NewPcapngWriter(w.file)
		return w.writer.Flush()
	}
	name := w.path
	if w.ring != nil {
		w.number++
		ext := filepath.Ext(name)
		name = fmt.Sprintf("%s_%05d_%s%s", strings.TrimSuffix(name, ext), w.number, w.began.Format("20060102150405"), ext)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	w.file, w.writer = f, NewPcapngWriter(diskWriter(f))
	if w.ring != nil && w.ring.Files > 0 {
		w.kept = append(w.kept, name)
		if len(w.kept) > w.ring.Files {
			if err := os.Remove(w.kept[0]); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			w.kept = w.kept[1:]
		}
	}
	return w.writer.Flush()
}

// Write appends a record, to a new file when the current one is full.
func (w *Output) Write(r *Record) error {
	if w.full() {
		if err := w.close(); err != nil {
			return err
		}
		if err := w.open(); err != nil {
			return err
		}
	}
	w.packets++
	return w.writer.Write(r)
}

// full reports whether the ring wants a new file.
func (w *Output) full() bool {
	if w.ring == nil || w.packets == 0 {
		return false
	}
	return w.ring.Packets > 0 && w.packets >= w.ring.Packets ||
		w.ring.FileSize > 0 && w.writer.Size() >= w.ring.FileSize ||
		w.ring.Duration > 0 && w.now().Sub(w.began) >= w.ring.Duration
}

// Flush hands what was gathered to the system.
func (w *Output) Flush() error { return w.writer.Flush() }

// Buffered is how many bytes wait for Flush.
func (w *Output) Buffered() int { return w.writer.Buffered() }

// Close ends the output with what the kernel counted.
func (w *Output) Close(received, dropped uint64) error {
	w.writer.WriteStatistics(w.now(), received, dropped)
	return w.close()
}

// close ends the current file.
func (w *Output) close() error {
	err := w.writer.Flush()
	if w.file == os.Stdout {
		return err
	}
	return errors.Join(err, w.file.Close())
}
