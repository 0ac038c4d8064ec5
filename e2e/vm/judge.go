//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/ovs-erspan/ovs-erspan/e2e/vm/judge"
)

const judgePort = judge.Port

// judgeSocket is where qemu hands over the calls of the guest's tshark.
type judgeSocket struct {
	path     string
	listener net.Listener
}

func listenJudge(path string) (*judgeSocket, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	return &judgeSocket{path: path, listener: l}, nil
}

func (j *judgeSocket) close() { j.listener.Close() }

func (j *judgeSocket) serve(ctx context.Context, log func(string, ...any)) {
	conn, err := j.listener.Accept()
	if err != nil {
		return // the machine ended before it began
	}
	defer conn.Close()
	// The stream ends with the machine.
	_ = judge.Serve(conn, func(r judge.Request) judge.Reply {
		reply, err := callTshark(ctx, filepath.Dir(j.path), r)
		if err != nil {
			log("tshark for the machine: %v", err)
			return judge.Reply{Stderr: []byte(err.Error() + "\n"), Code: 1}
		}
		return reply
	})
}

// callTshark runs tshark of this machine on the files that came along.
func callTshark(ctx context.Context, work string, r judge.Request) (judge.Reply, error) {
	dir, err := os.MkdirTemp(work, "judge")
	if err != nil {
		return judge.Reply{}, err
	}
	defer os.RemoveAll(dir)
	args := append([]string{}, r.Args...)
	for i, arg := range args {
		if content, ok := r.Files[arg]; ok {
			args[i] = filepath.Join(dir, strconv.Itoa(i))
			if err := os.WriteFile(args[i], content, 0o600); err != nil {
				return judge.Reply{}, err
			}
		}
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "tshark", args...)
	// A user's own preferences must not change what is decoded.
	cmd.Env = append(os.Environ(), "WIRESHARK_CONFIG_DIR="+dir, "LC_ALL=C")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(r.Stdin), &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return judge.Reply{}, err
	}
	return judge.Reply{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Code: cmd.ProcessState.ExitCode()}, nil
}
