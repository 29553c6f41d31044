package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Longer than anything takes on a loaded machine.
const patience = 50 * time.Second

var both = &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}

type client struct {
	connection *grpc.ClientConn
	// Ends with the program's patience.
	patient context.Context
}

// call runs a case against a target, with TLS if there is an authority. It prints done, or fails.
func call(name, target string, ca []string) {
	calls := grpc.WithDefaultCallOptions(
		grpc.CallContentSubtype(raw{}.Name()), grpc.MaxCallRecvMsgSize(messageMax), grpc.MaxCallSendMsgSize(messageMax))
	options := []grpc.DialOption{calls, grpc.WithNoProxy()}
	if len(ca) > 0 {
		credentials, err := credentials.NewClientTLSFromFile(ca[0], "")
		check(err)
		options = append(options, grpc.WithTransportCredentials(credentials))
	} else {
		options = append(options, grpc.WithInsecure())
	}
	connection, err := grpc.Dial(target, options...)
	check(err)
	patient, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cases := map[string]func(client){
		"kinds": client.kinds, "errors": client.errors, "deadline": client.deadline, "cancel": client.cancel,
		"large": client.large, "down": client.down,
	}
	cases[name](client{connection, patient})
	fmt.Println("done")
}

func (client client) unary(ctx context.Context, path string, request []byte, options ...grpc.CallOption) ([]byte, error) {
	var reply []byte
	err := client.connection.Invoke(ctx, path, &request, &reply, options...)
	return reply, err
}

func (client client) echo(request []byte) {
	reply, err := client.unary(client.patient, "/probe.Probe/Unary", request)
	check(err)
	demand(bytes.Equal(reply, request), len(reply))
}

func (client client) event() string {
	event, err := client.unary(client.patient, "/probe.Probe/NextEvent", nil)
	check(err)
	return string(event)
}

func (client client) stream(ctx context.Context, method string) grpc.ClientStream {
	stream, err := client.connection.NewStream(ctx, both, "/probe.Probe/"+method)
	check(err)
	return stream
}

func send(stream grpc.ClientStream, request []byte) { check(stream.SendMsg(&request)) }

func receive(stream grpc.ClientStream) []byte {
	var reply []byte
	check(stream.RecvMsg(&reply))
	return reply
}

func end(stream grpc.ClientStream) {
	var reply []byte
	err := stream.RecvMsg(&reply)
	demand(err == io.EOF, err, reply)
}

func (client client) kinds() {
	client.echo([]byte{})
	client.echo([]byte("hello"))

	upload := client.stream(client.patient, "Upload")
	for _, size := range []int{0, 1, 100000} {
		send(upload, bytes.Repeat([]byte("r"), size))
	}
	check(upload.CloseSend())
	sizes := receive(upload)
	demand(string(sizes) == "[0, 1, 100000]", sizes)
	end(upload)

	download := client.stream(client.patient, "Download")
	send(download, []byte("1000"))
	check(download.CloseSend())
	for number := 0; number < 1000; number++ {
		reply := receive(download)
		demand(string(reply) == strconv.Itoa(number), reply)
	}
	end(download)
	late := download.Trailer()
	demand(late.Get("x-late")[0] == "text" && late.Get("x-late-bin")[0] == "\x00\xff", late)

	// A reply arrives before the next request is sent.
	chat := client.stream(client.patient, "Chat")
	early, err := chat.Header()
	check(err)
	demand(early.Get("x-early")[0] == "yes", early)
	for number := 0; number < 100; number++ {
		send(chat, []byte(strconv.Itoa(number)))
		reply := receive(chat)
		demand(string(reply) == fmt.Sprintf("re: %d", number), reply)
	}
	check(chat.CloseSend())
	end(chat)
}

func (client client) errors() {
	var trailer metadata.MD
	_, err := client.unary(client.patient, "/probe.Probe/Fail", nil, grpc.Trailer(&trailer))
	demand(status.Code(err) == codes.NotFound, err)
	demand(status.Convert(err).Message() == "kein Maß für „%“ \U0001f600", err)
	demand(trailer.Get("x-detail-bin")[0] == string(allBytes()), trailer)
	// The server's own, and the gateway's for a path without a route.
	_, err = client.unary(client.patient, "/probe.Probe/Nothing", nil, grpc.Trailer(&trailer))
	demand(status.Code(err) == codes.Unimplemented, err)
	demand(len(trailer.Get("x-gateway-error")) == 0, trailer)
	_, err = client.unary(client.patient, "/other.Service/Call", nil)
	demand(status.Code(err) == codes.Unimplemented, err)
	demand(strings.HasPrefix(status.Convert(err).Message(), "route.none: "), err)
}

func (client client) down() {
	_, err := client.unary(client.patient, "/probe.Probe/Unary", nil)
	demand(status.Code(err) == codes.Unavailable, err)
	demand(strings.HasPrefix(status.Convert(err).Message(), "upstream.connect: "), err)
}

func (client client) deadline() {
	second, cancel := context.WithTimeout(client.patient, time.Second)
	defer cancel()
	_, err := client.unary(second, "/probe.Probe/Hold", nil)
	demand(status.Code(err) == codes.DeadlineExceeded, err)
	event := client.event()
	left, err := strconv.ParseFloat(strings.TrimPrefix(event, "arrived "), 64)
	check(err)
	demand(left <= 1, event)
	event = client.event()
	demand(event == "cancelled", event)
	// Other calls have their own time.
	client.echo([]byte("hello"))
}

func (client client) cancel() {
	expect := func(expected string) {
		event := client.event()
		demand(event == expected, event)
	}
	for round := 0; round < 20; round++ {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() {
			_, err := client.unary(ctx, "/probe.Probe/Hold", nil)
			ended <- err
		}()
		expect("arrived None")
		cancel()
		err := <-ended
		demand(status.Code(err) == codes.Canceled, err)
		expect("cancelled")
	}
	ctx, cancel := context.WithCancel(client.patient)
	stream := client.stream(ctx, "HoldStream")
	send(stream, nil)
	check(stream.CloseSend())
	reply := receive(stream)
	demand(string(reply) == "0", reply)
	cancel()
	expect("arrived")
	expect("cancelled")
}

func (client client) large() {
	message := bytes.Repeat(allBytes(), 4<<20/256)
	var ended = make(chan struct{})
	for call := 0; call < 4; call++ {
		go func() {
			client.echo(message)
			ended <- struct{}{}
		}()
	}
	for call := 0; call < 4; call++ {
		<-ended
	}
	chat := client.stream(client.patient, "Chat")
	for round := 0; round < 3; round++ {
		send(chat, message)
		reply := receive(chat)
		demand(bytes.HasPrefix(reply, []byte("re: ")) && bytes.Equal(reply[4:], message), len(reply))
	}
	check(chat.CloseSend())
	end(chat)
}
