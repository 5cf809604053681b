/** Workers in Cloudflare's own runtime. */

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Miniflare } from "miniflare";
import { rolldown } from "rolldown";
import WebSocket from "ws";
import { first, within } from "./child.mjs";
import { root } from "./server.mjs";

const COMPATIBILITY = { compatibilityDate: "2026-04-01", modulesRoot: root };

/** Starts one, or several as `{ workers }`; to be disposed of. */
export async function startWorker(options) {
  const worker = new Miniflare({ port: 0, inspectorPort: 0, cf: false, ...COMPATIBILITY, ...options });
  // A port that is taken makes it wait for ever, without a word.
  await within(worker.ready, 60_000, "workerd is not ready");
  return worker;
}

/**
 * A worker as its bundler makes it: one module, and what it imports beside it, `files` by their
 * names in its folder.
 */
export async function bundle(input, files = {}) {
  const build = await rolldown({
    input: root + input,
    resolve: { conditionNames: ["workerd", "import"] },
    plugins: [
      {
        name: "modules of its platform",
        resolveId(id) {
          if (id.endsWith(".wasm")) return { id: "./gossamer.wasm", external: true };
          return id.endsWith(".bin") ? { id: id.replace("../", "./"), external: true } : null;
        },
      },
    ],
  });
  const { output } = await build.generate({ format: "esm" });
  if (output.length > 1) throw new Error(`${input} has ${output.length} chunks`);
  const wasm = await readFile(`${root}pkg/dist/wasm/relaxed.wasm`);
  const data = Object.entries(files).map(([name, contents]) => ({
    type: "Data",
    path: root + name,
    contents,
  }));
  const modules = [
    { type: "ESModule", path: `${root}index.mjs`, contents: output[0].code },
    { type: "CompiledWasm", path: `${root}gossamer.wasm`, contents: wasm },
    ...data,
  ];
  return { ...COMPATIBILITY, modules };
}

/** Bytes of a worker's JavaScript heap, and of buffers out of it; wasm memory is not among them. */
export async function heap(worker) {
  const { host } = await worker.getInspectorURL();
  const list = await (await fetch(`http://${host}/json`)).json();
  const { webSocketDebuggerUrl } = list.find(({ id }) => id.startsWith("core:user:"));
  const socket = new WebSocket(webSocketDebuggerUrl);
  try {
    await first(socket, "open");
    socket.send(JSON.stringify({ id: 1, method: "Runtime.getHeapUsage" }));
    const message = await first(socket, "message");
    const { usedSize, backingStorageSize } = JSON.parse(message).result;
    return { used: usedSize, buffers: backingStorageSize };
  } finally {
    socket.close();
  }
}

/** Puts folders of this repository into a worker's bucket. */
export async function fill(worker, folders, name) {
  const bucket = await worker.getR2Bucket("MODELS", name);
  for (const [name, folder] of Object.entries(folders)) {
    for (const file of await readdir(root + folder, { recursive: true })) {
      if (!/\.(json|safetensors)$/.test(file)) continue;
      const { buffer, byteOffset, byteLength } = await readFile(join(root, folder, file));
      await bucket.put(`${name}/${file}`, buffer.slice(byteOffset, byteOffset + byteLength));
    }
  }
  return bucket;
}
