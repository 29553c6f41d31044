// Requests and a WebSocket over HTTP/2, by Node: client.mjs URL CA

import assert from "node:assert";
import { readFileSync } from "node:fs";
import http2 from "node:http2";

const [url, ca] = process.argv.slice(2);
const session = http2.connect(url, { ca: readFileSync(ca) });
session.on("error", (error) => {
  throw error;
});

/** Sends a request and resolves to its head, its whole body and its trailers. */
function request(headers, body) {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers, { endStream: body === undefined });
    const chunks = [];
    let head, trailers;
    stream.on("response", (fields) => (head = fields));
    stream.on("trailers", (fields) => (trailers = fields));
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.on("end", () => resolve({ head, trailers, body: Buffer.concat(chunks) }));
    stream.on("error", reject);
    if (body !== undefined) stream.end(body);
  });
}

const hello = await request({ ":path": "/local" });
assert.strictEqual(hello.head[":status"], 200);
assert.strictEqual(hello.body.toString(), "hello");

const many = await Promise.all(Array.from({ length: 500 }, () => request({ ":path": "/local" })));
assert(many.every((response) => response.body.toString() === "hello"));

const upload = Buffer.alloc(3_000_000, "0123456789");
const echoed = await request({ ":method": "POST", ":path": "/echo" }, upload);
assert(echoed.body.equals(upload));

const trailing = await request({ ":path": "/trailers" });
assert.strictEqual(trailing.trailers["x-end"], "1");

assert.strictEqual(session.remoteSettings.enableConnectProtocol, true);
const opened = await request(
  { ":method": "CONNECT", ":protocol": "websocket", ":path": "/chat", "sec-websocket-version": "13" },
  upload,
);
assert.strictEqual(opened.head[":status"], 200);
assert.strictEqual(opened.head["sec-websocket-accept"], undefined);
assert(opened.body.equals(upload), "what was sent comes back, and then the end");

// A request that its client gives up leaves the connection to others.
const given = session.request({ ":path": "/stalled" });
given.on("error", () => {});
const closed = new Promise((resolve) => given.on("close", resolve));
given.close(http2.constants.NGHTTP2_CANCEL);
await closed;
assert.strictEqual((await request({ ":path": "/local" })).head[":status"], 200);

await new Promise((resolve, reject) => session.ping((error) => (error ? reject(error) : resolve())));
session.close(() => console.log("done"));
