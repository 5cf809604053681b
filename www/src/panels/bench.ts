/** Times the loaded model on the visitor's own machine, as each kind of weights and with more workers. */

import { barX, text as label } from "@observablehq/plot";
import { type LoadOptions, load, type ModelInfo } from "gossamer-embed";
import { html, nothing, type TemplateResult } from "lit";
import { Bench } from "tinybench";
import { download } from "../files.js";
import { plural, short, size, time } from "../format.js";
import { modelWanted, onSubmit, Panel } from "../panel.js";
import { colour, plot } from "../plot.js";
import { type LoadedModel, session } from "../session.js";

/** About 32 tokens. */
const SENTENCE =
  "The night train crosses the river on an iron bridge, and the lights of the sleeping town tremble in the water below until the last carriage has passed.";
const BATCH = 32;
const DTYPES = ["q8", "q4", "f32"] as const;
/** Milliseconds for each figure. */
const SPAN = 1500;

interface Row {
  weights: ModelInfo["dtype"];
  workers: number;
  loading: number;
  memory: number;
  /** Median milliseconds for one text. */
  single: number;
  textsPerSecond: number;
}

class BenchPanel extends Panel {
  static override properties = { ...Panel.properties, rows: { state: true }, under: { state: true } };
  declare private rows: Row[];
  /** What is measured now. */
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
        How fast the model is on this machine, in this browser: one text of about 32 tokens, and batches of ${BATCH}. The
        model is loaded anew for each line.
      </p>
      ${this.alert()}
      ${model ? nothing : modelWanted("The bench takes a model.")}
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
        <p class="actions">
          <button type="submit" ?disabled=${!model || this.busy}>Measure</button>
          ${this.busy ? html`<button type="button" class="quiet" @click=${this.cancel}>Cancel</button>` : nothing}
          <output>${this.under}</output>
        </p>
      </form>
      ${this.rows.length > 0 ? this.#results() : nothing}
    `;
  }

  readonly #measure = (form: HTMLFormElement) =>
    this.attempt(async (signal) => {
      const fields = new FormData(form);
      const model = session.dense ?? session.sparse;
      if (!model) return;
      const [dtypes, workers] = [fields.getAll("dtype"), fields.getAll("workers").map(Number)];
      if (dtypes.length === 0 || workers.length === 0) {
        throw new Error(
          "There is nothing to measure: tick at least one kind of weights and one number of workers.",
        );
      }
      this.rows = [];
      try {
        for (const dtype of dtypes as LoadOptions["dtype"][]) {
          for (const number of workers) {
            this.under = `${dtype}, ${plural(number, "worker")}…`;
            this.rows = [...this.rows, await measure(model, { dtype, workers: number }, signal)];
          }
        }
      } finally {
        this.under = undefined;
      }
    });

  #results(): TemplateResult {
    return html`
      <div class="figures">
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
      <p class="actions">
        <button type="button" class="quiet" @click=${() => this.#copy(markdown(this.rows))}>Copy as Markdown</button>
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
    // Outside of the page nothing says what its colours are.
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

async function measure(
  { source, options }: LoadedModel,
  variant: Pick<LoadOptions, "dtype" | "workers">,
  signal: AbortSignal,
): Promise<Row> {
  const start = performance.now();
  const embedder = await load(source, { ...options, ...variant, signal });
  try {
    const loading = performance.now() - start;
    const encode = (texts: string[]) =>
      embedder.info.outputs.includes("dense")
        ? embedder.encode(texts, { signal })
        : embedder.encodeSparse(texts, { signal });
    const bench = new Bench({
      time: SPAN,
      iterations: 5,
      warmupTime: 300,
      warmupIterations: 2,
      signal,
      throws: true,
    });
    const batch = Array.from({ length: BATCH }, () => SENTENCE);
    bench.add("single", () => encode([SENTENCE])).add("batch", () => encode(batch));
    await bench.run();
    signal.throwIfAborted();
    const { dtype: weights, workers, memoryBytes: memory } = embedder.info;
    return {
      weights,
      workers,
      loading,
      memory,
      single: median(bench, "single"),
      textsPerSecond: (BATCH / median(bench, "batch")) * 1000,
    };
  } finally {
    embedder.dispose();
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
  return [weights, String(workers), time(loading), size(memory), time(single), short(textsPerSecond)];
}

function markdown(rows: Row[]): string {
  const line = (values: string[]) => `| ${values.join(" | ")} |\n`;
  return [HEADINGS, HEADINGS.map(() => "---"), ...rows.map(cells)].map(line).join("");
}

function csv(rows: Row[]): string {
  const lines = rows.map((row) =>
    [row.weights, row.workers, row.loading, row.memory, row.single, row.textsPerSecond].join(","),
  );
  return ["weights,workers,loading_ms,memory_bytes,single_ms,texts_per_second", ...lines].join("\n");
}

function bars(rows: Row[]): Element {
  const named = rows.map((row) => ({ ...row, name: `${row.weights}, ${plural(row.workers, "worker")}` }));
  return plot("Texts a second for each kind of weights and number of workers; the table has the numbers", {
    width: 440,
    height: rows.length * 34 + 10,
    marginLeft: 104,
    marginRight: 48,
    marginTop: 4,
    marginBottom: 4,
    x: { axis: null, domain: [0, Math.max(...rows.map(({ textsPerSecond }) => textsPerSecond))] },
    y: { type: "band", label: null, tickSize: 0, domain: named.map(({ name }) => name), padding: 0.25 },
    marks: [
      barX(named, { x: "textsPerSecond", y: "name", fill: colour("dense"), rx: 3 }),
      label(named, {
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
