// Package capture is the receiver: it takes ERSPAN from capture files and from the wire, reassembles what was
// fragmented on the way, and gives back the mirrored frames with what their headers say, as text, as JSON, as pcapng.
//
// Everything that it remembers (streams, fragments, interfaces of an output file) is bounded, however many senders
// there are and whatever they send; what did not fit is counted.
//
// It knows nothing of Open vSwitch and of how sessions are made. A program that prints a capture file:
//
//	file, err := capture.NewFileReader(os.Stdin)
//	if err != nil {
//		return err
//	}
//	decoder := capture.NewDecoder(capture.Options{})
//	for {
//		frame, err := file.Next()
//		if err == io.EOF {
//			break
//		}
//		if err != nil {
//			return err
//		}
//		if record := decoder.Decode(&frame); record != nil {
//			os.Stdout.Write(capture.AppendText(nil, record, capture.TextOptions{}))
//		}
//	}
package capture
