/** A page whose requests for embeddings never leave the machine. */

const form = document.querySelector("form") as HTMLFormElement;
const button = document.querySelector("button") as HTMLButtonElement;
const output = document.querySelector("output") as HTMLOutputElement;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const input = new FormData(form).get("text");
  const headers = { "content-type": "application/json" };
  const response = await fetch("v1/embeddings", { method: "POST", headers, body: JSON.stringify({ input }) });
  const answer = await response.json();
  output.value = response.ok ? answer.data[0].embedding.join(", ") : answer.error.message;
});

await navigator.serviceWorker.register("sw.js", { type: "module" });
// Installed, it has all that it needs. It takes pages over that were there before it.
await navigator.serviceWorker.ready;
button.disabled = false;

export {};
