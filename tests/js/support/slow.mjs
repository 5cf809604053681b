/** A slow line to a server on this machine. */

import { connect, createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import { listen } from "./child.mjs";

/** Milliseconds between two portions. */
const TICK = 20;

/**
 * A port that passes everything on to another one. All answers together get `bitsPerSecond`, as by
 * one line; `passed` is the number of their bytes so far.
 */
export async function slowLine(port, bitsPerSecond) {
  const portion = (bitsPerSecond / 8000) * TICK;
  const waiting = new Set();
  const sockets = new Set();
  const line = { passed: 0, close: undefined, port: undefined };
  let open = true;

  const server = createServer((client) => {
    const upstream = connect(port, "127.0.0.1");
    const answer = { parts: [], client, upstream, ended: false };
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => {
        client.destroy();
        upstream.destroy();
      });
      socket.on("close", () => sockets.delete(socket));
    }
    client.pipe(upstream);
    client.on("close", () => upstream.destroy());
    waiting.add(answer);
    upstream.on("data", (data) => {
      answer.parts.push(data);
      // No more than the line will soon take.
      if (answer.parts.length > 8) upstream.pause();
    });
    upstream.on("end", () => {
      answer.ended = true;
    });
    upstream.on("close", () => {
      answer.ended = true;
    });
  });

  /** Sends each answer its share of a portion. */
  async function send() {
    while (open) {
      await pause(TICK);
      const busy = [...waiting].filter(({ parts }) => parts.length > 0);
      const share = Math.max(1, Math.floor(portion / Math.max(1, busy.length)));
      for (const answer of busy) {
        let left = share;
        while (left > 0 && answer.parts.length > 0) {
          const [part] = answer.parts;
          const now = part.subarray(0, left);
          if (now.length === part.length) answer.parts.shift();
          else answer.parts[0] = part.subarray(left);
          left -= now.length;
          line.passed += now.length;
          if (!answer.client.destroyed) answer.client.write(now);
        }
        if (answer.parts.length <= 8) answer.upstream.resume();
      }
      for (const answer of waiting) {
        if (!answer.ended || answer.parts.length > 0) continue;
        answer.client.end();
        waiting.delete(answer);
      }
    }
  }

  line.port = await listen(server);
  send();
  line.close = async () => {
    open = false;
    for (const socket of sockets) socket.destroy();
    await new Promise((done) => server.close(done));
  };
  return line;
}
