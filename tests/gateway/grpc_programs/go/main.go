// A client and a server of gRPC by Go's library, without generated code: `probe server [CERTIFICATE KEY]` and
// `probe client CASE TARGET [CA]`. They do what server.py and client.py do.
package main

import (
	"fmt"
	"os"

	"google.golang.org/grpc/encoding"
)

// The larger of the messages have 4 MiB.
const messageMax = 8 << 20

// raw is a codec for messages that are bytes. Content types name it: application/grpc+raw.
type raw struct{}

func (raw) Marshal(message interface{}) ([]byte, error) { return *message.(*[]byte), nil }

func (raw) Unmarshal(data []byte, message interface{}) error {
	*message.(*[]byte) = append([]byte{}, data...)
	return nil
}

func (raw) Name() string { return "raw" }

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func demand(holds bool, values ...interface{}) {
	if !holds {
		panic(fmt.Sprintf("%#v", values))
	}
}

func main() {
	encoding.RegisterCodec(raw{})
	if os.Args[1] == "server" {
		serve(os.Args[2:])
	} else {
		call(os.Args[2], os.Args[3], os.Args[4:])
	}
}
