/** The demo page: forms and results. The model works in a worker, so the page never freezes. */

import "./style.css";
import { type Embedder, GossamerError, load, type ModelInfo, type Progress } from "gossamer-embed";
import { showHeatmap, showVectors } from "./tables.js";

/** The model that `cargo xtask demo` puts beside the page. */
const BUNDLED = "sentence-transformers/all-MiniLM-L6-v2";
const SAMPLES = [
  "A cat sleeps on the warm window sill.",
  "The kitten is napping in the sun.",
  "Stock markets fell sharply on Monday.",
  "Investors sold shares at the start of the week.",
  "How do I bake sourdough bread?",
  "Mix flour, water and salt, and let the dough rise overnight.",
  "Le chat dort au soleil.",
];

function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`the page has no ${id}`);
  return found;
}

const modelInput = element("model", HTMLInputElement);
const dtypeSelect = element("dtype", HTMLSelectElement);
const loadButton = element("load-button", HTMLButtonElement);
const cancelButton = element("cancel", HTMLButtonElement);
const embedButton = element("embed-button", HTMLButtonElement);
const textsInput = element("texts", HTMLTextAreaElement);
const message = element("message", HTMLParagraphElement);
const results = element("results", HTMLElement);

let embedder: Embedder | undefined;
let loading: AbortController | undefined;

const bytes = new Intl.NumberFormat("en", { style: "unit", unit: "megabyte", maximumFractionDigits: 1 });
const megabytes = (count: number) => bytes.format(count / 1e6);

/** Does what a button asks for; shows what went wrong, if anything did. */
async function attempt(work: () => Promise<void>): Promise<void> {
  message.hidden = true;
  try {
    await work();
  } catch (error) {
    if (!(error instanceof GossamerError)) throw error;
    message.hidden = error.code === "aborted";
    message.textContent = `${error.message} (${error.code})`;
  }
}

function showProgress(info: Progress): void {
  const bar = element("progress-bar", HTMLProgressElement);
  const text = element("progress-text", HTMLOutputElement);
  if (info.status === "progress_total") {
    bar.value = info.progress;
    text.value = `${megabytes(info.loaded)} of ${megabytes(info.total)}`;
  } else if (info.status === "initiate") {
    text.value = `Fetching ${info.file}`;
  } else if (info.status === "ready") {
    bar.value = 100;
  }
}

function showInfo(info: ModelInfo): void {
  const facts: [string, string][] = [
    ["Family", info.family],
    ["Dimensions", String(info.dimensions)],
    ["Longest text", `${info.maxTokens} tokens`],
    ["Parameters", `${(info.parameters / 1e6).toFixed(1)} million`],
    ["Weights", `${info.dtype}, ${megabytes(info.weightBytes)}`],
    ["WebAssembly memory", megabytes(info.memoryBytes)],
    ["Kernels", `${info.simd}, ${info.dotKernel}`],
    ["Vector space", info.spaceId],
  ];
  const list = element("info", HTMLDListElement);
  list.replaceChildren(
    ...facts.map(([name, value]) => {
      const group = document.createElement("div");
      const term = document.createElement("dt");
      const description = document.createElement("dd");
      term.textContent = name;
      description.textContent = value;
      group.append(term, description);
      return group;
    }),
  );
  list.hidden = false;
}

async function loadModel(): Promise<void> {
  const name = modelInput.value.trim();
  const source = name === BUNDLED ? new URL(`models/${name}/`, document.baseURI).href : name;
  embedder?.dispose();
  embedder = undefined;
  loadButton.disabled = embedButton.disabled = true;
  element("info", HTMLDListElement).hidden = results.hidden = true;
  cancelButton.hidden = element("progress", HTMLDivElement).hidden = false;
  element("progress-bar", HTMLProgressElement).value = 0;
  element("progress-text", HTMLOutputElement).value = "Starting";
  loading = new AbortController();
  const { signal } = loading;
  const dtype = dtypeSelect.value as "q8" | "f32";
  try {
    embedder = await load(source, { workers: 1, dtype, signal, onProgress: showProgress });
  } finally {
    loadButton.disabled = false;
    cancelButton.hidden = element("progress", HTMLDivElement).hidden = true;
  }
  showInfo(embedder.info);
  embedButton.disabled = false;
}

async function embed(): Promise<void> {
  const texts = textsInput.value.split("\n").filter((text) => text.trim() !== "");
  if (!embedder) return;
  embedButton.disabled = true;
  const start = performance.now();
  const encoded = await embedder.encode(texts).finally(() => {
    embedButton.disabled = false;
  });
  const milliseconds = performance.now() - start;
  const tokens = encoded.tokens.reduce((sum, count) => sum + count, 0);
  element("timing", HTMLParagraphElement).textContent =
    `${texts.length} texts in ${milliseconds.toFixed(0)} ms: ${(milliseconds / texts.length).toFixed(1)} ms each, ` +
    `${Math.round((tokens / milliseconds) * 1000)} tokens a second.`;
  const similarity = embedder.similarity(encoded, encoded).data;
  showHeatmap(element("heatmap", HTMLTableElement), texts, similarity);
  showVectors(element("vectors", HTMLTableElement), texts, encoded);
  results.hidden = false;
}

function onSubmit(form: string, action: () => Promise<void>): void {
  element(form, HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    void attempt(action);
  });
}

modelInput.value = BUNDLED;
textsInput.value = SAMPLES.join("\n");
onSubmit("load", loadModel);
onSubmit("embed", embed);
cancelButton.addEventListener("click", () => loading?.abort());
