/** Finds bookmarks by what their titles mean. The model is among the extension's files. */

import { load, topK } from "./gossamer-embed/dist/web.js";

const input = document.querySelector("input");
const list = document.querySelector("ol");

const bookmarks = (await chrome.bookmarks.search({})).filter(({ url, title }) => url && title);
const embedder = await load(chrome.runtime.getURL("model/"), { workers: 1 });
const titles = bookmarks.map(({ title }) => title);
const index = titles.length > 0 ? await embedder.encode(titles, { task: "document" }) : undefined;

input.addEventListener("input", async () => {
  const text = input.value.trim();
  const hits = index && text !== "" ? topK(await embedder.encode(text, { task: "query" }), index, 10) : [];
  // A newer query may have been typed meanwhile.
  if (input.value.trim() !== text) return;
  list.replaceChildren(...hits.map(({ index }) => entry(bookmarks[index])));
});
input.disabled = false;
input.focus();

function entry({ title, url }) {
  const row = document.createElement("li");
  const link = document.createElement("a");
  Object.assign(link, { href: url, textContent: title, target: "_blank" });
  row.append(link);
  return row;
}
