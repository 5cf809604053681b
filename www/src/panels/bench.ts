/**
 * Measures the loaded model on the visitor's machine, with different weights and numbers of
 * workers, and beside a peer.
 */

import { barX, text as label } from "@observablehq/plot";
import { type LoadOptions, load } from "gossamer-embed";
import { html, nothing, type TemplateResult } from "lit";
import { Bench } from "tinybench";
import { loadPeer } from "../bench/peer.js";
import { byTurns } from "../bench/turns.js";
import { download } from "../files.js";
import { plural, short, size, time } from "../format.js";
import { modelWanted, onSubmit, Panel } from "../panel.js";
import { colour, plot } from "../plot.js";
import { type LoadedModel, session } from "../session.js";

/** About 32 tokens. */
const SENTENCE =
  "The night train crosses the river on an iron bridge, and the lights of the sleeping town tremble in the water below until the last carriage has passed.";
const BATCH = 32;
const SINGLE = [SENTENCE];
const MANY = Array.from({ length: BATCH }, () => SENTENCE);
const DTYPES = ["q8", "q4", "f32"] as const;
/** Milliseconds of measurement for each figure. */
const SPAN = 1500;
const PEER = "transformers.js";
/** Our options beside the peer: the same number of bits, and one worker. */
const BESIDE = { dtype: "q8", workers: 1 } as const;

interface Row {
  /** Label of its bar. */
  name: string;
  weights: string;
  workers: number;
  loading: number;
  /** Memory in bytes; transformers.js does not report it. */
  memory?: number;
  /** Median milliseconds for one text. */
  single: number;
  textsPerSecond: number;
}

/** Our speed divided by that of the peer. */
interface Ratios {
  peer: string;
  single: number;
  batch: number;
}

class BenchPanel extends Panel {
  static override properties = {
    ...Panel.properties,
    rows: { state: true },
    ratios: { state: true },
    under: { state: true },
  };
  declare private rows: Row[];
  declare private ratios: Ratios | undefined;
  /** Description of the current measurement. */
  declare private under: string | undefined;

  constructor() {
    super();
    this.rows = [];
  }

  protected override render(): TemplateResult {
    const model = session.dense ?? session.sparse;
    return html`
      <h2>Bench</h2>
      <p class="lead">
        Measures how fast the model is on this machine, in this browser: one text of about 32 tokens, and batches of
        ${BATCH}. The model is loaded again for each line.
      </p>
      ${this.alert()}
      ${model ? nothing : modelWanted("The bench needs a model.", "dense")}
      <form @submit=${onSubmit(this.#measure)}>
        <fieldset class="choices" ?disabled=${this.busy}>
          <legend>Weights</legend>
          ${DTYPES.map(
            (dtype) =>
              html`<label><input type="checkbox" name="dtype" value=${dtype} .defaultChecked=${dtype !== "f32"} /> ${dtype}</label>`,
          )}
        </fieldset>
        <fieldset class="choices" ?disabled=${this.busy}>
          <legend>Workers</legend>
          ${workerCounts().map(
            (workers) =>
              html`<label><input type="checkbox" name="workers" value=${workers} .defaultChecked=${workers <= 2} /> ${workers}</label>`,
          )}
        </fieldset>
        <fieldset class="choices" ?disabled=${this.busy}>
          <legend>Beside</legend>
          <label><input type="checkbox" name="peer" value=${PEER} aria-describedby="peer" /> ${PEER}</label>
        </fieldset>
        <p class="hint" id="peer">
          transformers.js uses the ONNX runtime. Both libraries run by turns, with one thread each. transformers.js downloads
          its runtime (15 MB, or 4 if the host compresses it) and its own model in 8 bits (23 MB for all-MiniLM-L6-v2). Neither
          is kept.
        </p>
        <p class="actions">
          <button type="submit" ?disabled=${!model || this.busy}>Measure</button>
          ${this.busy ? html`<button type="button" class="quiet" @click=${() => this.cancel()}>Cancel</button>` : nothing}
          <output aria-live="off">${this.under}</output>
        </p>
      </form>
      ${this.rows.length > 0 ? this.#results() : nothing}
    `;
  }

  readonly #measure = (form: HTMLFormElement) =>
    this.attempt((signal) => this.#run(form, signal), { appears: ["table"] });

  async #run(form: HTMLFormElement, signal: AbortSignal): Promise<void> {
    const fields = new FormData(form);
    const model = session.dense ?? session.sparse;
    if (!model) return;
    const [dtypes, workers] = [fields.getAll("dtype"), fields.getAll("workers").map(Number)];
    const peer = fields.has("peer");
    if (!peer && (dtypes.length === 0 || workers.length === 0)) {
      throw new Error(
        "There is nothing to measure: tick at least one kind of weights and one number of workers.",
      );
    }
    this.rows = [];
    this.ratios = undefined;
    try {
      for (const dtype of dtypes as LoadOptions["dtype"][]) {
        for (const number of workers) {
          this.under = `${dtype}, ${plural(number, "worker")}…`;
          this.rows = [...this.rows, await measure(model, { dtype, workers: number }, signal)];
        }
      }
      if (peer) {
        this.under = `${PEER}…`;
        const { ours, theirs, ratios } = await besidePeer(model, signal);
        const others = this.rows.filter(({ name }) => name !== ours.name);
        [this.rows, this.ratios] = [[...others, ours, theirs], ratios];
      }
      this.said = `${plural(this.rows.length, "line")} measured.`;
    } finally {
      this.under = undefined;
    }
  }

  #results(): TemplateResult {
    return html`
      <div class="figures uneven">
        <figure>
          <figcaption>Texts a second, in batches of ${BATCH}</figcaption>
          <div class="bench-plot">${bars(this.rows)}</div>
        </figure>
        <div class="scroll" tabindex="0" role="group" aria-label="Figures">
          <table class="bench">
            <thead>
              <tr>
                ${HEADINGS.map((heading) => html`<th scope="col">${heading}</th>`)}
              </tr>
            </thead>
            <tbody>
              ${this.rows.map((row) => {
                const [first, ...rest] = cells(row);
                return html`<tr><th scope="row">${first}</th>${rest.map((text) => html`<td>${text}</td>`)}</tr>`;
              })}
            </tbody>
          </table>
        </div>
      </div>
      ${this.ratios ? html`<p class="ratios">${sentence(this.ratios)}</p>` : nothing}
      <p class="actions">
        <button type="button" class="quiet" @click=${() => this.#copy(markdown(this.rows, this.ratios))}>Copy as Markdown</button>
        <button type="button" class="quiet" @click=${() => this.#copy(csv(this.rows))}>Copy as CSV</button>
        <button type="button" class="quiet" @click=${this.#savePlot}>Save the plot</button>
      </p>
    `;
  }

  readonly #copy = (text: string) => this.attempt(() => navigator.clipboard.writeText(text));

  readonly #savePlot = () => {
    const svg = this.querySelector(".bench-plot svg");
    if (!svg) return;
    const copy = svg.cloneNode(true) as SVGElement;
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    // The saved file has no style sheet, so its colours are written into it.
    const style = getComputedStyle(this);
    const markup = copy.outerHTML.replace(/var\((--[\w-]+)\)/g, (_, name: string) =>
      style.getPropertyValue(name).trim(),
    );
    download("gossamer-bench.svg", new Blob([markup], { type: "image/svg+xml" }));
  };
}

/** One worker, two, four and so on, up to the number of cores. */
function workerCounts(): number[] {
  const counts: number[] = [];
  for (let workers = 1; workers <= Math.max(2, navigator.hardwareConcurrency); workers *= 2)
    counts.push(workers);
  return counts;
}

/** Loads the model again, with other options. */
async function reload(
  { source, options }: LoadedModel,
  variant: Pick<LoadOptions, "dtype" | "workers">,
  signal: AbortSignal,
) {
  const start = performance.now();
  const embedder = await load(source, { ...options, ...variant, signal });
  const loading = performance.now() - start;
  const encode = (texts: string[]) =>
    embedder.info.outputs.includes("dense")
      ? embedder.encode(texts, { signal })
      : embedder.encodeSparse(texts, { signal });
  const row = (single: number, batch: number): Row => {
    const { dtype: weights, workers, memoryBytes: memory } = embedder.info;
    return {
      name: `${weights}, ${plural(workers, "worker")}`,
      weights,
      workers,
      loading,
      memory,
      single,
      textsPerSecond: (BATCH / batch) * 1000,
    };
  };
  return { encode, row, dispose: () => embedder.dispose() };
}

async function measure(
  model: LoadedModel,
  variant: Pick<LoadOptions, "dtype" | "workers">,
  signal: AbortSignal,
): Promise<Row> {
  const { encode, row, dispose } = await reload(model, variant, signal);
  try {
    const bench = new Bench({
      time: SPAN,
      iterations: 5,
      warmupTime: 300,
      warmupIterations: 2,
      signal,
      throws: true,
    });
    bench.add("single", () => encode(SINGLE)).add("batch", () => encode(MANY));
    await bench.run();
    signal.throwIfAborted();
    return row(median(bench, "single"), median(bench, "batch"));
  } finally {
    dispose();
  }
}

async function besidePeer(
  model: LoadedModel,
  signal: AbortSignal,
): Promise<{ ours: Row; theirs: Row; ratios: Ratios }> {
  const peer = await loadPeer(model, signal);
  try {
    const { encode, row, dispose } = await reload(model, BESIDE, signal);
    try {
      const [single, batch] = [
        await byTurns(
          () => encode(SINGLE),
          () => peer.encode(SINGLE),
          signal,
        ),
        await byTurns(
          () => encode(MANY),
          () => peer.encode(MANY),
          signal,
        ),
      ];
      const { version, id, loading } = peer;
      return {
        ours: row(single.first, batch.first),
        theirs: {
          name: PEER,
          weights: `${PEER} ${BESIDE.dtype}`,
          workers: BESIDE.workers,
          loading,
          single: single.second,
          textsPerSecond: (BATCH / batch.second) * 1000,
        },
        ratios: { peer: `${PEER} ${version} (${id})`, single: single.ratio, batch: batch.ratio },
      };
    } finally {
      dispose();
    }
  } finally {
    peer.close();
  }
}

function median(bench: Bench, name: string): number {
  const result = bench.getTask(name)?.result;
  if (!result || !("latency" in result))
    throw new Error(`The measurement “${name}” did not finish: try again.`);
  return result.latency.p50;
}

const HEADINGS = ["Weights", "Workers", "Loaded in", "Memory", "One text", "Texts a second"];

function cells({ weights, workers, loading, memory, single, textsPerSecond }: Row): string[] {
  return [
    weights,
    String(workers),
    time(loading),
    memory === undefined ? "–" : size(memory),
    time(single),
    short(textsPerSecond),
  ];
}

function sentence({ peer, single, batch }: Ratios): string {
  return `By turns, in ${BESIDE.dtype} on one thread each, Gossamer is ${short(single)} times as fast as ${peer} for one text, and ${short(batch)} times in batches of ${BATCH}.`;
}

function markdown(rows: Row[], ratios: Ratios | undefined): string {
  const line = (values: string[]) => `| ${values.join(" | ")} |\n`;
  const table = [HEADINGS, HEADINGS.map(() => "---"), ...rows.map(cells)].map(line).join("");
  return ratios ? `${table}\n${sentence(ratios)}\n` : table;
}

function csv(rows: Row[]): string {
  const lines = rows.map((row) =>
    [row.weights, row.workers, row.loading, row.memory, row.single, row.textsPerSecond].join(","),
  );
  return ["weights,workers,loading_ms,memory_bytes,single_ms,texts_per_second", ...lines].join("\n");
}

function bars(rows: Row[]): Element {
  return plot("Texts a second for each kind of weights and number of workers; the table has the numbers", {
    width: 360,
    height: rows.length * 34 + 10,
    marginLeft: 104,
    marginRight: 48,
    marginTop: 4,
    marginBottom: 4,
    x: { axis: null, domain: [0, Math.max(...rows.map(({ textsPerSecond }) => textsPerSecond))] },
    y: { type: "band", label: null, tickSize: 0, domain: rows.map(({ name }) => name), padding: 0.25 },
    marks: [
      barX(rows, {
        x: "textsPerSecond",
        y: "name",
        fill: ({ name }: Row) => colour(name === PEER ? "soft" : "dense"),
        rx: 3,
      }),
      label(rows, {
        x: "textsPerSecond",
        y: "name",
        text: ({ textsPerSecond }: Row) => short(textsPerSecond),
        textAnchor: "start",
        dx: 6,
        fontSize: 12,
        fill: colour("ink"),
      }),
    ],
  });
}

customElements.define("gossamer-bench", BenchPanel);
