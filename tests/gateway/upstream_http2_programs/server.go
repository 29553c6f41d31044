// An HTTP/2 server with TLS by Go's net/http: server NAME CERTIFICATE KEY. It prints its port, and finishes what it has at SIGTERM.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func serve(response http.ResponseWriter, request *http.Request) {
	name := os.Args[1]
	if request.ProtoMajor != 2 {
		panic(request.Proto)
	}
	response.Header().Set("x-server", name)
	if request.URL.Path != "/echo" {
		fmt.Fprint(response, name)
		return
	}
	response.Header().Set("trailer", "x-end")
	response.WriteHeader(200)
	response.(http.Flusher).Flush()
	buffer := make([]byte, 16384)
	for {
		length, err := request.Body.Read(buffer)
		response.Write(buffer[:length])
		response.(http.Flusher).Flush()
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	end := request.Trailer.Get("x-end")
	if end == "" {
		end = "none"
	}
	response.Header().Set("x-end", end)
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	server := &http.Server{Handler: http.HandlerFunc(serve)}
	stopped := make(chan struct{})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		check(server.Shutdown(context.Background()))
		close(stopped)
	}()
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	if err := server.ServeTLS(listener, os.Args[2], os.Args[3]); err != http.ErrServerClosed {
		panic(err)
	}
	<-stopped
}
