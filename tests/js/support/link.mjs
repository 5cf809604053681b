/**
 * A link of a given speed and delay in front of servers on this machine. All connections share it,
 * of pages, workers and WebAssembly alike, and each new one waits a round trip for its handshake.
 */

import { connect, createServer } from "node:net";
import { listen } from "./child.mjs";

/** Bytes that a connection may send before another one has its turn. */
const TURN = 1 << 14;
/** Bytes of a connection that wait, above which its server is not read. */
const MOST = 1 << 18;

export class Link {
  #bytesPerMs;
  #delay;
  #servers = [];
  #sockets = new Set();
  /** Connections that have something to send, in the order of their turns. */
  #waiting = [];
  #free = 0;
  #timer;
  /** Bytes that were sent to clients. */
  sent = 0;

  /** `mbit`: million bits a second towards clients; `roundTrip`: in milliseconds. */
  constructor({ mbit, roundTrip }) {
    this.#bytesPerMs = mbit * 125;
    this.#delay = roundTrip / 2;
  }

  /** The origin that stands for another one. */
  async to(origin) {
    const port = Number(new URL(origin).port);
    const server = createServer((client) => this.#connect(client, port));
    this.#servers.push(server);
    return `http://127.0.0.1:${await listen(server)}`;
  }

  async close() {
    clearTimeout(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
    await Promise.all(this.#servers.map((server) => new Promise((done) => server.close(done))));
  }

  #connect(client, port) {
    const server = connect(port, "127.0.0.1");
    const one = { client, server, chunks: [], held: 0, ended: false };
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        if (socket === client) server.destroy();
      });
    }
    // The handshake takes a round trip more.
    const opened = performance.now() + 2 * this.#delay;
    const later = (act) => {
      const due = Math.max(opened, performance.now()) + this.#delay;
      setTimeout(act, due - performance.now());
    };
    client.on("data", (bytes) => later(() => server.destroyed || server.write(bytes)));
    client.on("end", () => later(() => server.end()));
    server.on("data", (bytes) => {
      for (let at = 0; at < bytes.length; at += TURN) one.chunks.push(bytes.subarray(at, at + TURN));
      one.held += bytes.length;
      if (one.held > MOST) server.pause();
      if (!this.#waiting.includes(one)) this.#waiting.push(one);
      this.#send();
    });
    server.on("close", () => {
      one.ended = true;
      if (one.chunks.length === 0) setTimeout(() => client.end(), this.#delay);
    });
  }

  /** Sends what the link has carried by now. */
  #send() {
    const now = performance.now();
    if (this.#waiting.length === 0) return;
    // Time in which nothing was sent is lost.
    this.#free = Math.max(this.#free, now - 2);
    while (this.#free <= now && this.#waiting.length > 0) {
      const one = this.#waiting.shift();
      const bytes = one.chunks.shift();
      one.held -= bytes.length;
      this.#free += bytes.length / this.#bytesPerMs;
      this.sent += bytes.length;
      const isLast = one.chunks.length === 0;
      setTimeout(() => {
        if (one.client.destroyed) return;
        one.client.write(bytes);
        if (isLast && one.ended && one.chunks.length === 0) one.client.end();
      }, this.#delay);
      if (one.held <= MOST) one.server.resume();
      if (!isLast) this.#waiting.push(one);
    }
    clearTimeout(this.#timer);
    if (this.#waiting.length > 0) this.#timer = setTimeout(() => this.#send(), Math.max(1, this.#free - now));
  }
}
