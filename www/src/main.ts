/** The demo page: forms and results. The work is done in worker.ts. */

import "./style.css";
import { proxy, wrap } from "comlink";
import type { Progress } from "gossamer-embed";
import { showHeatmap, showVectors } from "./tables.js";
import type { Api, Failure, Loaded } from "./worker.js";

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

const worker = wrap<Api>(new Worker(new URL("./worker.ts", import.meta.url), { type: "module" }));

const bytes = new Intl.NumberFormat("en", { style: "unit", unit: "megabyte", maximumFractionDigits: 1 });
const megabytes = (count: number) => bytes.format(count / 1e6);

function showFailure(failure: Failure | undefined): void {
  message.hidden = failure === undefined || failure.code === "aborted";
  message.textContent = failure ? `${failure.message} (${failure.code})` : "";
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

function showInfo(info: Loaded): void {
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
  showFailure(undefined);
  loadButton.disabled = embedButton.disabled = true;
  // The worker lets the model before go.
  element("info", HTMLDListElement).hidden = results.hidden = true;
  cancelButton.hidden = element("progress", HTMLDivElement).hidden = false;
  element("progress-bar", HTMLProgressElement).value = 0;
  element("progress-text", HTMLOutputElement).value = "Starting";
  const outcome = await worker.load(source, dtypeSelect.value as "q8" | "f32", proxy(showProgress));
  loadButton.disabled = false;
  cancelButton.hidden = element("progress", HTMLDivElement).hidden = true;
  if ("failure" in outcome) return showFailure(outcome.failure);
  showInfo(outcome.ok);
  embedButton.disabled = false;
}

async function embed(): Promise<void> {
  const texts = textsInput.value.split("\n").filter((text) => text.trim() !== "");
  showFailure(undefined);
  embedButton.disabled = true;
  const outcome = await worker.embed(texts);
  embedButton.disabled = false;
  if ("failure" in outcome) return showFailure(outcome.failure);
  const { encoded, similarity, milliseconds } = outcome.ok;
  const tokens = encoded.tokens.reduce((sum, count) => sum + count, 0);
  element("timing", HTMLParagraphElement).textContent =
    `${texts.length} texts in ${milliseconds.toFixed(0)} ms: ${(milliseconds / texts.length).toFixed(1)} ms each, ` +
    `${Math.round((tokens / milliseconds) * 1000)} tokens a second.`;
  showHeatmap(element("heatmap", HTMLTableElement), texts, similarity);
  showVectors(element("vectors", HTMLTableElement), texts, encoded);
  results.hidden = false;
}

function onSubmit(form: string, action: () => Promise<void>): void {
  element(form, HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    void action();
  });
}

modelInput.value = BUNDLED;
textsInput.value = SAMPLES.join("\n");
onSubmit("load", loadModel);
onSubmit("embed", embed);
cancelButton.addEventListener("click", () => void worker.cancel());
