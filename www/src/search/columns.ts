/** The columns of results: one for each ranking, or its placeholder. */

import type { SparseVector, Token } from "gossamer-embed";
import { html, nothing, type TemplateResult } from "lit";
import { demo } from "../demo.js";
import { fixed } from "../format.js";
import { highlight } from "../highlight.js";
import { arriving } from "../panel.js";
import type { Ranking, Rankings } from "./worker.js";

/** Number of hits shown in each ranking. */
export const SHOWN = 10;
/** Number of terms shown with a hit: those with the largest share of its score. */
const TERMS = 5;

export const KINDS = {
  dense: { title: "Dense", how: "cosine" },
  hybrid: { title: "Hybrid", how: "reciprocal rank fusion" },
  sparse: { title: "Sparse", how: "dot product" },
  reranked: { title: "Reranked", how: "score" },
} as const;

export type Kind = keyof typeof KINDS;

/** Number of decimals of the scores in each ranking. */
const DECIMALS: Record<Kind, number> = { dense: 3, hybrid: 4, sparse: 2, reranked: 3 };

export interface Answer {
  text: string;
  rankings: Rankings;
  /** Milliseconds of each model for the query. */
  embedding: Partial<Record<"dense" | "sparse", number>>;
  query: SparseVector | undefined;
  /** Tokens of the shown documents, by ranking and document. */
  tokens: Record<Kind, Map<number, Token[]>>;
}

/** Placeholder for a ranking whose model is being loaded, or is at work. */
export function skeleton(kind: Kind, answer: Answer | undefined): TemplateResult {
  const download =
    kind === "hybrid" ? undefined : demo.downloads.get(kind === "reranked" ? "reranker" : kind);
  const { loaded = 0, total } = download ?? {};
  const waiting =
    kind === "reranked" && answer ? "Reading each passage with the query" : "Waiting for the models";
  return html`
    <section class="ranking ${kind} skeleton" aria-busy="true" aria-labelledby="${kind}-title">
      <h3 id="${kind}-title">${KINDS[kind].title} <small>${KINDS[kind].how}</small></h3>
      <p class="hint">
        ${
          download
            ? html`<progress
                  aria-label="Loading the ${kind} model"
                  max=${total ?? 1}
                  .value=${total === undefined ? 0 : loaded}
                ></progress>
                <output aria-live="off">${arriving(download)}</output>`
            : waiting
        }
      </p>
      <ol aria-hidden="true">
        ${Array.from({ length: 5 }, () => html`<li><span class="bone"></span><span class="bone short"></span></li>`)}
      </ol>
    </section>
  `;
}

export function column(
  kind: Kind,
  { hits }: Ranking,
  answer: Answer,
  texts: readonly string[],
): TemplateResult {
  const labels = new Map(
    [...(answer.query?.indices ?? [])].map((index, at) => [index, answer.query?.labels?.[at]]),
  );
  return html`
    <section class="ranking ${kind}" aria-labelledby="${kind}-title">
      <h3 id="${kind}-title">${KINDS[kind].title} <small>${KINDS[kind].how}</small></h3>
      ${hits.length === 0 ? html`<p class="hint">No passage shares a term with the query.</p>` : nothing}
      <ol>
        ${hits.slice(0, SHOWN).map(({ document, score, terms }) => {
          const tokens = answer.tokens[kind].get(document) ?? [];
          const own = new Set(tokens.map(({ id }) => id));
          const wanted = new Set(terms?.map(({ index }) => index));
          return html`
            <li>
              <p class="passage">${highlight(texts[document] ?? "", tokens, wanted)}</p>
              <p class="why">
                <span class="score">${fixed(score, DECIMALS[kind])}</span>
                ${terms?.slice(0, TERMS).map(({ index, share }) => term(labels.get(index) ?? String(index), share, own.has(index)))}
              </p>
            </li>
          `;
        })}
      </ol>
    </section>
  `;
}

/**
 * A term that query and passage share: a word of the passage, or one that the model added to it.
 */
function term(label: string, share: number, isOwn: boolean): TemplateResult {
  const origin = isOwn ? "in the passage" : "added by the model";
  return html`<span class="term ${isOwn ? "" : "added"}" title=${origin}
    >${label} ${fixed(share, DECIMALS.sparse)}${isOwn ? nothing : html`<span class="sr-only">, ${origin}</span>`}</span
  >`;
}
