package capture

import (
	"bufio"
	"errors"
	"io"
)

// Sink takes records: prints them, writes them to a file, sends them out.
type Sink interface {
	Write(*Record) error
	Flush() error
}

// printer writes one line (or several) a record.
type printer struct {
	w      *bufio.Writer
	buf    []byte
	append func([]byte, *Record) ([]byte, error)
}

// NewTextSink prints records as [AppendText] has them.
func NewTextSink(w io.Writer, o TextOptions) Sink {
	return &printer{w: bufio.NewWriter(w), append: func(b []byte, r *Record) ([]byte, error) { return AppendText(b, r, o), nil }}
}

// NewJSONSink prints records as [AppendJSON] has them.
func NewJSONSink(w io.Writer) Sink {
	return &printer{w: bufio.NewWriter(w), append: AppendJSON}
}

// Write prints a record.
func (p *printer) Write(r *Record) error {
	b, err := p.append(p.buf[:0], r)
	if err != nil {
		return err
	}
	p.buf = b
	_, err = p.w.Write(b)
	return err
}

// Flush hands on what was printed.
func (p *printer) Flush() error { return p.w.Flush() }

// MultiSink hands each record to all sinks, and stops at the first error.
type MultiSink []Sink

// Write hands on a record.
func (m MultiSink) Write(r *Record) error {
	for _, s := range m {
		if err := s.Write(r); err != nil {
			return err
		}
	}
	return nil
}

// Flush flushes all sinks.
func (m MultiSink) Flush() error {
	var errs []error
	for _, s := range m {
		errs = append(errs, s.Flush())
	}
	return errors.Join(errs...)
}

// DecodeFile hands all records of a capture file to sink, at most limit of them (0: all). A frame that cannot be read
// is handed to report (which names it) and does not end the run.
func DecodeFile(f *FileReader, d *Decoder, sink Sink, limit uint64, report func(error)) error {
	for n := uint64(0); limit == 0 || n < limit; {
		frame, err := f.Next()
		if err == io.EOF {
			break
		}
		var bad *FrameError
		if errors.As(err, &bad) {
			report(err)
			continue
		}
		if err != nil {
			return errors.Join(sink.Flush(), err)
		}
		r := d.Decode(&frame)
		if r == nil {
			continue
		}
		if link, ok := r.Err.(LinkError); ok {
			return errors.Join(sink.Flush(), link)
		}
		if r.Err != nil {
			report(&FrameError{r.Number, r.Err})
		}
		if err := sink.Write(r); err != nil {
			return err
		}
		n++
	}
	return sink.Flush()
}
