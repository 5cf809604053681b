/**
 * Compares texts: a heat map of the similarity of all pairs, and a map on which similar texts are
 * near each other.
 */

import { axisX, axisY, cell, dot, text as label } from "@observablehq/plot";
import type { Embedder, Matrix } from "gossamer-embed";
import { html, nothing, type TemplateResult } from "lit";
import { PCA } from "ml-pca";
import { count, fixed, plural, time } from "../format.js";
import { modelWanted, onSubmit, Panel } from "../panel.js";
import { colour, plot } from "../plot.js";
import { session } from "../session.js";

const SAMPLES = `A cat sleeps on the warm window sill.
The kitten is napping in the sun.
Stock markets fell sharply on Monday.
Investors sold shares at the start of the week.
How do I bake sourdough bread?
Mix flour, water and salt, and let the dough rise overnight.
The harbour lights guide ships home at night.
A lighthouse keeps sailors off the rocks.`;

/** Maximum number of texts for which the numbers in the cells are readable. */
const READABLE = 14;

interface Comparison {
  texts: string[];
  similarity: Matrix;
  /** Position of each text on the map; only for dense vectors. */
  places: [number, number][] | undefined;
  milliseconds: number;
  tokens: number;
}

class ComparePanel extends Panel {
  static override properties = { ...Panel.properties, comparison: { state: true } };
  declare private comparison: Comparison | undefined;

  protected override render(): TemplateResult {
    const model = session.dense ?? session.sparse;
    return html`
      <h2>Compare texts</h2>
      <p class="lead">Shows how similar each text is to every other. Texts with the same meaning are similar, even if they share no word.</p>
      ${this.alert()}
      ${model ? nothing : modelWanted("Comparing texts needs a model.", "dense")}
      <form @submit=${onSubmit(this.#compare)}>
        <label>
          One text per line
          <textarea name="texts" rows="8" .defaultValue=${SAMPLES}></textarea>
        </label>
        <p class="actions"><button type="submit" ?disabled=${!model || this.busy}>Compare</button></p>
      </form>
      ${this.comparison ? this.#results(this.comparison) : nothing}
    `;
  }

  readonly #compare = (form: HTMLFormElement) =>
    this.attempt((signal) => this.#run(form, signal), { appears: [".timing"] });

  async #run(form: HTMLFormElement, signal: AbortSignal): Promise<void> {
    const texts = String(new FormData(form).get("texts"))
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "");
    if (texts.length < 2)
      throw new Error("There is nothing to compare: write at least two texts, one per line.");
    const embedder = (session.dense ?? session.sparse)?.embedder;
    if (!embedder) return;
    const start = performance.now();
    const compared = session.dense
      ? await dense(embedder, texts, signal)
      : await sparse(embedder, texts, signal);
    this.comparison = { texts, milliseconds: performance.now() - start, ...compared };
    this.said = `The similarities of ${plural(texts.length, "text")}.`;
  }

  #results({ texts, similarity, places, milliseconds, tokens }: Comparison): TemplateResult {
    const each = time(milliseconds / texts.length);
    const rate = tokens > 0 ? `, ${count((tokens / milliseconds) * 1000)} tokens a second` : "";
    return html`
      <p class="timing">${plural(texts.length, "text")} in ${time(milliseconds)}: ${each} each${rate}.</p>
      <div class="figures">
        <figure>
          <figcaption>Similarity of every pair</figcaption>
          <div class="scroll" tabindex="0" role="group" aria-label="Heat map">${heatMap(texts, similarity)}</div>
          <ol class="key">
            ${texts.map((text) => html`<li>${text}</li>`)}
          </ol>
        </figure>
        ${
          places
            ? html`<figure>
                <figcaption>The vectors on a plane: similar texts are near each other (principal components)</figcaption>
                ${map(texts, places)}
              </figure>`
            : nothing
        }
      </div>
      <details>
        <summary>The numbers as a table</summary>
        <div class="scroll" tabindex="0" role="group" aria-label="Similarities">${table(texts, similarity)}</div>
      </details>
    `;
  }
}

type Compared = Pick<Comparison, "similarity" | "places" | "tokens">;

async function dense(embedder: Embedder, texts: string[], signal: AbortSignal): Promise<Compared> {
  const encoded = await embedder.encode(texts, { signal });
  const vectors = encoded.toList();
  // NIPALS computes only the two components that are shown. All of them would take seconds.
  const plane = new PCA(vectors, { method: "NIPALS", nCompNIPALS: 2 }).predict(vectors, { nComponents: 2 });
  return {
    similarity: embedder.similarity(encoded, encoded),
    places: plane.to2DArray().map(([x = 0, y = 0]) => [x, y]),
    tokens: encoded.tokens.reduce((sum, tokens) => sum + tokens, 0),
  };
}

/**
 * Dot products, by which sparse models rank. There is no map: two components of a vocabulary's size
 * would show little.
 */
async function sparse(embedder: Embedder, texts: string[], signal: AbortSignal): Promise<Compared> {
  const vectors = await embedder.encodeSparse(texts, { signal });
  return { similarity: embedder.similarity(vectors, vectors), places: undefined, tokens: 0 };
}

function heatMap(texts: string[], { data }: Matrix): Element {
  const side = texts.length;
  const cells = [...data].map((value, at) => ({
    row: Math.floor(at / side) + 1,
    column: (at % side) + 1,
    value,
  }));
  const most = Math.max(...data, Number.EPSILON);
  const cellSize = side > READABLE ? 16 : 44;
  const title = ({ row, column, value }: (typeof cells)[number]) =>
    `${fixed(value, 3)}\n${texts[row - 1]}\n${texts[column - 1]}`;
  return plot(`Heat map of the similarities of ${side} texts; the table below has the numbers`, {
    width: side * cellSize + 40,
    height: side * cellSize + 30,
    marginLeft: 30,
    marginTop: 24,
    marginBottom: 4,
    marginRight: 8,
    x: { type: "band", axis: "top", label: null, tickSize: 0 },
    y: { type: "band", label: null, tickSize: 0 },
    marks: [
      cell(cells, {
        x: "column",
        y: "row",
        fill: colour("dense"),
        fillOpacity: share,
        inset: 1,
        rx: 4,
        title,
        tip: true,
      }),
      ...(side > READABLE
        ? []
        : [
            label(cells, {
              x: "column",
              y: "row",
              text: ({ value }) => fixed(value, 2),
              fill: (entry) => (share(entry) > 0.5 ? colour("on-dense") : colour("ink")),
              fontSize: 11,
            }),
          ]),
      axisY({ fontSize: 11, tickSize: 0 }),
      axisX({ anchor: "top", fontSize: 11, tickSize: 0 }),
    ],
  });

  function share({ value }: { value: number }): number {
    return Math.max(0.04, value / most) ** 1.2;
  }
}

function map(texts: string[], places: [number, number][]): Element {
  const xs = places.map(([x]) => x);
  const middle = (Math.min(...xs) + Math.max(...xs)) / 2;
  const points = texts.map((text, at) => {
    const [x = 0, y = 0] = places[at] ?? [];
    return { text: brief(text), number: at + 1, x, y };
  });
  /** The labels of points, on the side towards the middle, where there is space. */
  const names = (where: "left" | "right") => {
    const sign = where === "left" ? 1 : -1;
    return label(
      points.filter(({ x }) => x <= middle === (where === "left")),
      {
        x: "x",
        y: "y",
        text: "text",
        textAnchor: where === "left" ? "start" : "end",
        dx: 14 * sign,
        fontSize: 12,
        fill: colour("ink"),
        stroke: colour("card"),
        strokeWidth: 4,
      },
    );
  };
  return plot(`Map of ${texts.length} texts; the list of texts has the numbers`, {
    width: 520,
    height: 440,
    margin: 12,
    inset: 14,
    x: { axis: null },
    y: { axis: null },
    marks: [
      ...(points.length > READABLE ? [] : [names("left"), names("right")]),
      dot(points, {
        x: "x",
        y: "y",
        r: 9,
        fill: colour("dense"),
        title: ({ number }) => texts[number - 1],
        tip: true,
      }),
      label(points, {
        x: "x",
        y: "y",
        text: "number",
        fontSize: 10,
        fontWeight: 600,
        fill: colour("on-dense"),
      }),
    ],
  });
}

function brief(text: string): string {
  return text.length > 30 ? `${text.slice(0, 29).trimEnd()}…` : text;
}

function table(texts: string[], { data }: Matrix): TemplateResult {
  const side = texts.length;
  return html`
    <table class="similarities">
      <thead>
        <tr>
          <td></td>
          ${texts.map((_, column) => html`<th scope="col">${column + 1}</th>`)}
        </tr>
      </thead>
      <tbody>
        ${texts.map(
          (text, row) => html`
            <tr>
              <th scope="row">${row + 1}. ${text}</th>
              ${texts.map((_, column) => html`<td>${fixed(data[row * side + column] ?? 0, 3)}</td>`)}
            </tr>
          `,
        )}
      </tbody>
    </table>
  `;
}

customElements.define("gossamer-compare", ComparePanel);
