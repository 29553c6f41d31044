package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Events that calls cause, and that other calls ask for.
var events = make(chan string, 100)

func allBytes() []byte {
	all := make([]byte, 256)
	for index := range all {
		all[index] = byte(index)
	}
	return all
}

// unary describes a method with one request and one reply.
func unary(name string, method func(context.Context, []byte) ([]byte, error)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(_ interface{}, ctx context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
			var request []byte
			if err := decode(&request); err != nil {
				return nil, err
			}
			reply, err := method(ctx, request)
			return &reply, err
		},
	}
}

func echo(_ context.Context, request []byte) ([]byte, error) { return request, nil }

func fail(ctx context.Context, _ []byte) ([]byte, error) {
	grpc.SetTrailer(ctx, metadata.Pairs("x-detail-bin", string(allBytes())))
	return nil, status.Error(codes.NotFound, "kein Maß für „%“ \U0001f600")
}

// hold never replies. It reports what was left of the deadline, and that the call was cancelled.
func hold(ctx context.Context, _ []byte) ([]byte, error) {
	left := "None"
	if deadline, ok := ctx.Deadline(); ok {
		left = fmt.Sprintf("%.3f", time.Until(deadline).Seconds())
	}
	events <- "arrived " + left
	<-ctx.Done()
	events <- "cancelled"
	return nil, ctx.Err()
}

func nextEvent(_ context.Context, _ []byte) ([]byte, error) { return []byte(<-events), nil }

func upload(_ interface{}, stream grpc.ServerStream) error {
	var sizes []string
	for {
		var request []byte
		err := stream.RecvMsg(&request)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		sizes = append(sizes, strconv.Itoa(len(request)))
	}
	reply := []byte("[" + strings.Join(sizes, ", ") + "]")
	return stream.SendMsg(&reply)
}

func download(_ interface{}, stream grpc.ServerStream) error {
	var request []byte
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	count, err := strconv.Atoi(string(request))
	if err != nil {
		return err
	}
	for number := 0; number < count; number++ {
		reply := []byte(strconv.Itoa(number))
		if err := stream.SendMsg(&reply); err != nil {
			return err
		}
	}
	stream.SetTrailer(metadata.Pairs("x-late", "text", "x-late-bin", "\x00\xff"))
	return nil
}

func chat(_ interface{}, stream grpc.ServerStream) error {
	if err := stream.SendHeader(metadata.Pairs("x-early", "yes")); err != nil {
		return err
	}
	for {
		var request []byte
		err := stream.RecvMsg(&request)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		reply := bytes.Join([][]byte{[]byte("re: "), request}, nil)
		if err := stream.SendMsg(&reply); err != nil {
			return err
		}
	}
}

func holdStream(_ interface{}, stream grpc.ServerStream) error {
	events <- "arrived"
	defer func() { events <- "cancelled" }()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for number := 0; ; number++ {
		reply := []byte(strconv.Itoa(number))
		if err := stream.SendMsg(&reply); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// serve prints its port, and serves until it is killed, with TLS if there is a certificate with its key.
func serve(identity []string) {
	options := []grpc.ServerOption{grpc.MaxRecvMsgSize(messageMax), grpc.MaxSendMsgSize(messageMax)}
	if len(identity) > 0 {
		credentials, err := credentials.NewServerTLSFromFile(identity[0], identity[1])
		check(err)
		options = append(options, grpc.Creds(credentials))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "probe.Probe",
		HandlerType: (*interface{})(nil),
		Methods: []grpc.MethodDesc{
			unary("Unary", echo), unary("Fail", fail), unary("Hold", hold), unary("NextEvent", nextEvent),
		},
		Streams: []grpc.StreamDesc{
			{StreamName: "Upload", Handler: upload, ClientStreams: true},
			{StreamName: "Download", Handler: download, ServerStreams: true},
			{StreamName: "Chat", Handler: chat, ClientStreams: true, ServerStreams: true},
			{StreamName: "HoldStream", Handler: holdStream, ServerStreams: true},
		},
	}, nil)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	check(server.Serve(listener))
}
