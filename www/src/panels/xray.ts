/**
 * Shows the sparse vector of a text: the weights of its words, the words that the model added, and
 * the terms of a score.
 */

import { barX, text as label } from "@observablehq/plot";
import type { Embedder, SparseVector } from "gossamer-embed";
import { html, nothing, type TemplateResult } from "lit";
import { fixed, plural, time } from "../format.js";
import { modelWanted, onSubmit, Panel } from "../panel.js";
import { colour, plot } from "../plot.js";
import { overlap } from "../search/sparse.js";
import { session } from "../session.js";

const QUERY = "where do ships rest at night?";
const DOCUMENT = "The harbour is a haven: vessels lie at anchor there until the morning tide.";

/** Maximum number of bars in a plot; the remaining weights are small. */
const SHOWN = 24;

/** Number of decimals of weights and scores. */
const DECIMALS = 3;

interface Term {
  term: string;
  weight: number;
  /** Whether the term is in the text; otherwise the model added it. */
  origin: "in the text" | "added by the model";
}

interface Xray {
  query: Term[];
  document: Term[];
  shared: Term[];
  score: number;
  milliseconds: number;
}

class XrayPanel extends Panel {
  static override properties = { ...Panel.properties, xray: { state: true } };
  declare private xray: Xray | undefined;

  protected override render(): TemplateResult {
    const model = session.sparse;
    return html`
      <h2>Sparse X-ray</h2>
      <p class="lead">
        A sparse vector is a list of weighted words. The model keeps the important words of the text, and adds words that
        others might use for the same thing. The score of two texts is made of the words that both lists have.
      </p>
      ${this.alert()}
      ${model ? nothing : modelWanted("The X-ray needs a sparse model.", "sparse")}
      <form @submit=${onSubmit(this.#look)}>
        <div class="pair">
          <label>
            Query
            <textarea name="query" rows="3" .defaultValue=${QUERY}></textarea>
          </label>
          <label>
            Document
            <textarea name="document" rows="3" .defaultValue=${DOCUMENT}></textarea>
          </label>
        </div>
        <p class="actions"><button type="submit" ?disabled=${!model || this.busy}>X-ray</button></p>
      </form>
      ${this.xray ? this.#results(this.xray) : nothing}
    `;
  }

  readonly #look = (form: HTMLFormElement) =>
    this.attempt((signal) => this.#run(form, signal), { appears: [".timing"] });

  async #run(form: HTMLFormElement, signal: AbortSignal): Promise<void> {
    const fields = new FormData(form);
    const [query, document] = [String(fields.get("query")).trim(), String(fields.get("document")).trim()];
    if (query === "" || document === "") throw new Error("A text is missing: write a query and a document.");
    if (!session.sparse) return;
    const { embedder } = session.sparse;
    const start = performance.now();
    const [q, d] = await Promise.all([
      lookAt(embedder, query, "query", signal),
      lookAt(embedder, document, "document", signal),
    ]);
    const shares = overlap(q.vector, d.vector);
    const inQuery = new Map(q.terms.map((term, at) => [q.vector.indices[at], term]));
    this.xray = {
      query: heaviest(q.terms),
      document: heaviest(d.terms),
      shared: heaviest(
        shares.flatMap(({ index, share }) => {
          const term = inQuery.get(index);
          return term ? [{ ...term, weight: share }] : [];
        }),
      ),
      score: embedder.similarity(q.vector, d.vector),
      milliseconds: performance.now() - start,
    };
    this.said = `The score is ${fixed(this.xray.score, DECIMALS)}: ${plural(shares.length, "term")} in common.`;
  }

  #results({ query, document, shared, score, milliseconds }: Xray): TemplateResult {
    return html`
      <p class="timing">
        Both texts in ${time(milliseconds)}.
        <span class="legend"><i class="swatch sparse"></i> in the text <i class="swatch added"></i> added by the model</span>
      </p>
      <div class="figures three">
        ${figure("Query", `${plural(query.length, "term")}`, query)}
        ${figure("Document", `${plural(document.length, "term")}`, document)}
        ${figure(
          "What makes the score",
          shared.length > 0
            ? `${fixed(score, DECIMALS)}: the sum of query weight × document weight`
            : "0: the two lists share no term",
          shared,
        )}
      </div>
    `;
  }
}

async function lookAt(embedder: Embedder, text: string, task: "query" | "document", signal: AbortSignal) {
  const [[vector], [tokens]] = await Promise.all([
    embedder.encodeSparse([text], { task, labels: true, signal }),
    embedder.tokenize([text], { addSpecialTokens: false, signal }),
  ]);
  if (!vector || !tokens) throw new Error("The model gave no vector: load it again.");
  const present = new Set(tokens.map(({ id }) => id));
  return { vector, terms: termsOf(vector, present) };
}

function termsOf({ indices, values, labels = [] }: SparseVector, present: Set<number>): Term[] {
  return [...indices].map((index, at) => ({
    term: labels[at] ?? String(index),
    weight: values[at] ?? 0,
    origin: present.has(index) ? "in the text" : "added by the model",
  }));
}

function heaviest(terms: Term[]): Term[] {
  return [...terms].sort((a, b) => b.weight - a.weight);
}

function figure(title: string, subtitle: string, terms: Term[]): TemplateResult {
  const shown = terms.slice(0, SHOWN);
  const more = terms.length - shown.length;
  return html`
    <figure>
      <figcaption><strong>${title}</strong> ${subtitle}</figcaption>
      ${shown.length > 0 ? bars(title, shown) : nothing}
      ${more > 0 ? html`<p class="hint">and ${plural(more, "lighter term")}</p>` : nothing}
      <ol class="sr-only" aria-label=${title}>
        ${shown.map(({ term, weight, origin }) => html`<li>${term} ${fixed(weight, DECIMALS)}, ${origin}</li>`)}
      </ol>
    </figure>
  `;
}

function bars(title: string, terms: Term[]): Element {
  const most = Math.max(...terms.map(({ weight }) => weight));
  // A term may occur twice in the vocabulary, as a word and as the start of one.
  const rows = terms.map((term, row) => ({ ...term, row }));
  return plot(`${title}: terms by weight`, {
    width: 340,
    height: rows.length * 22 + 8,
    marginLeft: 110,
    marginRight: 42,
    marginTop: 4,
    marginBottom: 4,
    x: { axis: null, domain: [0, most] },
    y: { type: "band", axis: null, padding: 0.18 },
    marks: [
      barX(rows, {
        x: "weight",
        y: "row",
        rx: 3,
        fill: ({ origin }: Term) => colour(origin === "in the text" ? "sparse" : "added"),
      }),
      label(rows, {
        x: 0,
        y: "row",
        text: "term",
        textAnchor: "end",
        dx: -8,
        fontSize: 12,
        fill: colour("ink"),
      }),
      label(rows, {
        x: "weight",
        y: "row",
        text: ({ weight }: Term) => fixed(weight, DECIMALS),
        textAnchor: "start",
        dx: 6,
        fontSize: 11,
        fill: colour("soft"),
      }),
    ],
  });
}

customElements.define("gossamer-xray", XrayPanel);
