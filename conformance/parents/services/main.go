// A Go service. Arguments: client|fanout, port, port called, calls. Tells the truth as node.ts does.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"sync"
)

var (
	lock     sync.Mutex
	seen     = map[string]int{}
	ordinals = map[string]int{}
)

func count(table map[string]int, port string) int {
	lock.Lock()
	defer lock.Unlock()
	table[port]++
	return table[port]
}

func tell(line string) { os.Stdout.WriteString(line) }

func main() {
	pattern, own, to := os.Args[1], os.Args[2], os.Args[3]
	calls, _ := strconv.Atoi(os.Args[4])
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	call := func(cause string) {
		request, _ := http.NewRequest("GET", "http://127.0.0.1:"+to+"/item", nil)
		trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
			_, port, _ := net.SplitHostPort(got.Conn.LocalAddr().String())
			tell(fmt.Sprintf("call %s %s %d for %s\n", port, to, count(ordinals, port), cause))
		}}
		response, err := client.Do(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
		if err != nil {
			return
		}
		io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		_, port, _ := net.SplitHostPort(r.RemoteAddr)
		cause := fmt.Sprintf("%s %s %d", port, own, count(seen, port))
		if pattern == "fanout" {
			var all sync.WaitGroup
			for i := 0; i < calls; i++ {
				all.Add(1)
				go func() { defer all.Done(); call(cause) }()
			}
			all.Wait()
		} else {
			for i := 0; i < calls; i++ {
				call(cause)
			}
		}
		w.Write([]byte("ok"))
	})
	listener, err := net.Listen("tcp", "127.0.0.1:"+own)
	if err != nil {
		panic(err)
	}
	tell("ready\n")
	panic(http.Serve(listener, nil))
}
