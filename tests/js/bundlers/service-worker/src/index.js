/** Has a service worker answer what would go to a server. */
async function outcome() {
  await navigator.serviceWorker.register(new URL("./sw.js", import.meta.url), { type: "module" });
  const { active } = await navigator.serviceWorker.ready;
  const { port1, port2 } = new MessageChannel();
  active.postMessage(["a cat", "the dog sat"], [port2]);
  return new Promise((resolve) => {
    port1.onmessage = ({ data }) => resolve([data]);
  });
}

globalThis.outcome = outcome();
