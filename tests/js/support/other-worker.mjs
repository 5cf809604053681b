/** A worker that runs, but not the package's script. */

// Node's have no `postMessage` of their own.
for (const message of [null, "ready", { id: 0 }]) globalThis.postMessage?.(message);
setInterval(() => {}, 1000);
