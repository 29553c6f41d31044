// Requests over HTTP/2 by Go's net/http: client URL CA
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	url := os.Args[1]
	ca, err := os.ReadFile(os.Args[2])
	check(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true, MaxConnsPerHost: 1}
	client := &http.Client{Transport: transport}

	read := func(response *http.Response, err error) string {
		check(err)
		if response.ProtoMajor != 2 {
			panic(response.Proto)
		}
		body, err := io.ReadAll(response.Body)
		check(err)
		check(response.Body.Close())
		return string(body)
	}
	is := func(found, expected string) {
		if found != expected {
			panic(fmt.Sprintf("%.100q in place of %.100q", found, expected))
		}
	}

	is(read(client.Get(url+"/local")), "hello")
	var group sync.WaitGroup
	for number := 0; number < 500; number++ {
		group.Add(1)
		go func() {
			defer group.Done()
			is(read(client.Get(url+"/local")), "hello")
		}()
	}
	group.Wait()

	upload := bytes.Repeat([]byte("0123456789"), 300_000)
	// With a length, and without.
	is(read(client.Post(url+"/echo", "text/plain", bytes.NewReader(upload))), string(upload))
	is(read(client.Post(url+"/echo", "text/plain", io.MultiReader(bytes.NewReader(upload)))), string(upload))

	response, err := client.Get(url + "/trailers")
	is(read(response, err), "body")
	is(response.Trailer.Get("x-end"), "1")

	// A request that its client gives up leaves the connection to others.
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, "GET", url+"/stalled", nil)
	check(err)
	go cancel()
	if _, err := client.Do(request); err == nil {
		panic("a request that was given up has a response")
	}
	is(read(client.Get(url+"/local")), "hello")
	fmt.Println("done")
}
