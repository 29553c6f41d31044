// An HTTP/2 server: server.mjs NAME [CERTIFICATE KEY]. It prints its port, and finishes what it has at SIGTERM.
import http2 from "node:http2";
import fs from "node:fs";

const [name, cert, key] = process.argv.slice(2);
const server = cert
  ? http2.createSecureServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) })
  : http2.createServer();

const sessions = new Set();
server.on("session", (session) => {
  sessions.add(session);
  session.on("close", () => sessions.delete(session));
});

server.on("stream", (stream, headers) => {
  if (headers[":path"] !== "/echo") {
    stream.respond({ ":status": 200, "x-server": name });
    stream.end(name);
    return;
  }
  let end = "none";
  stream.on("trailers", (trailers) => (end = trailers["x-end"]));
  stream.respond({ ":status": 200, "x-server": name }, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers({ "x-end": end }));
  stream.pipe(stream);
});

process.on("SIGTERM", () => {
  server.close();
  for (const session of sessions) session.close();
});

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
