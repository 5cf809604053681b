/** Dense, sparse and hybrid search side by side, over passages of the page or of the visitor. */

import { virtualize } from "@lit-labs/virtualizer/virtualize.js";
import { type Remote, wrap } from "comlink";
import type { SparseVector, Token } from "gossamer-embed";
import { html, nothing, type TemplateResult } from "lit";
import { download, filesOf } from "../files.js";
import { count, plural, short, size, time } from "../format.js";
import { highlight } from "../highlight.js";
import { modelWanted, onSubmit, Panel } from "../panel.js";
import { FORMATS, type FormatName } from "../search/export.js";
import { indexTexts, type Models } from "../search/indexing.js";
import type { Ranking, Rankings, SearchIndex } from "../search/worker.js";
import { type LoadedModel, session } from "../session.js";

/** Hits of each ranking that are shown. */
const SHOWN = 10;
/** Terms under a hit: those that made most of its score. */
const TERMS = 5;
/** Shorter words are in most texts. */
const SHORTEST_WORD = 4;

const KINDS = {
  dense: { title: "Dense", how: "cosine" },
  hybrid: { title: "Hybrid", how: "reciprocal rank fusion" },
  sparse: { title: "Sparse", how: "dot product" },
} as const;

type Kind = keyof typeof KINDS;

interface Indexed extends Models {
  texts: string[];
  name: string;
  milliseconds: number;
}

interface Answer {
  text: string;
  rankings: Rankings;
  /** Milliseconds that each model took for the query. */
  embedding: Partial<Record<"dense" | "sparse", number>>;
  query: SparseVector | undefined;
  /** Ids of the query's words, for marks in dense hits. */
  words: Set<number>;
  /** Tokens of the documents that are shown, by the model of each ranking. */
  tokens: Record<Kind, Map<number, Token[]>>;
}

class SearchPanel extends Panel {
  static override properties = {
    ...Panel.properties,
    texts: { state: true },
    indexed: { state: true },
    done: { state: true },
    answer: { state: true },
    dragging: { state: true },
  };
  /** What would be indexed. */
  declare private texts: { name: string; passages: string[] } | undefined;
  declare private indexed: Indexed | undefined;
  /** Texts that are indexed so far, while that is under way, and when it began. */
  declare private done: { texts: number; since: number } | undefined;
  declare private answer: Answer | undefined;
  declare private dragging: boolean;
  private readonly index: Remote<SearchIndex> = wrap(
    new Worker(new URL("../search/worker.ts", import.meta.url), { type: "module" }),
  );
  #asked = 0;

  constructor() {
    super();
    this.dragging = false;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void this.attempt(() => this.#useCorpus());
    session.addEventListener("change", this.#forget);
  }

  override disconnectedCallback(): void {
    session.removeEventListener("change", this.#forget);
    super.disconnectedCallback();
  }

  /** Vectors of a model that is gone cannot be searched with another one's. */
  readonly #forget = () => {
    const { indexed } = this;
    if (!indexed || (indexed.dense === session.dense && indexed.sparse === session.sparse)) return;
    this.indexed = undefined;
    this.answer = undefined;
  };

  protected override render(): TemplateResult {
    return html`
      <h2>Search</h2>
      <p class="lead">
        Dense search knows meaning, sparse search knows words and says which ones matched, and hybrid search takes the
        best of both.
      </p>
      ${this.alert()}
      ${session.models.length === 0 ? modelWanted("Search takes a model, dense or sparse, or one of each.") : nothing}
      ${this.indexed ? this.#ask(this.indexed) : nothing} ${this.#corpus()}
    `;
  }

  #corpus(): TemplateResult {
    const { texts, indexed, done } = this;
    const missing = session.models.length === 0 || !texts;
    return html`
      <details class="corpus" ?open=${!indexed || indexed.texts !== texts?.passages}>
        <summary>${indexed ? `${indexed.name}: ${plural(indexed.texts.length, "passage")} indexed` : "Passages"}</summary>
        <div
          class="drop ${this.dragging ? "over" : ""}"
          @dragover=${this.#dragged}
          @dragleave=${this.#dragged}
          @drop=${this.#dragged}
        >
          <p>
            ${texts ? html`<strong>${texts.name}</strong>: ${plural(texts.passages.length, "passage")}.` : "Reading…"} Drop
            a .txt, .md, .jsonl or .csv file here to search your own.
          </p>
          <label class="button quiet">
            Choose a file
            <input class="sr-only" type="file" name="documents" accept=".txt,.md,.jsonl,.ndjson,.csv,.tsv" @change=${this.#take} />
          </label>
          <button type="button" class="quiet" @click=${() => this.attempt(() => this.#useCorpus())}>Use the page's passages</button>
        </div>
        <form @submit=${onSubmit(this.#paste)}>
          <label>
            Or paste texts, one a line or a paragraph
            <textarea name="pasted" rows="2"></textarea>
          </label>
          <p class="actions"><button type="submit" class="quiet">Take these texts</button></p>
        </form>
        <p class="actions">
          <button type="button" ?disabled=${missing || this.busy} @click=${this.#build}>Index</button>
          ${done ? html`<button type="button" class="quiet" @click=${this.cancel}>Cancel</button>` : nothing}
        </p>
        <p class="indexing">${done && texts ? progress(done, texts.passages.length) : nothing}</p>
        ${texts ? browse(texts.passages) : nothing}
      </details>
    `;
  }

  readonly #dragged = (event: DragEvent) => {
    event.preventDefault();
    this.dragging = event.type === "dragover";
    if (event.type === "drop") void this.#take(event);
  };

  readonly #take = (event: Event) =>
    this.attempt(async () => {
      const [file] = await filesOf(event);
      if (file) this.texts = { name: file.name, passages: await this.index.read(file.name, file) };
    });

  readonly #paste = (form: HTMLFormElement) =>
    this.attempt(async () => {
      const pasted = new Blob([String(new FormData(form).get("pasted"))]);
      this.texts = { name: "Pasted texts", passages: await this.index.read("pasted.txt", pasted) };
    });

  async #useCorpus(): Promise<void> {
    const response = await fetch(new URL("../corpus.txt", import.meta.url));
    if (!response.ok)
      throw new Error(`The passages of this page cannot be read (${response.status}): load it again.`);
    this.texts = {
      name: "Passages of this page",
      passages: await this.index.read("corpus.txt", await response.blob()),
    };
  }

  readonly #build = () =>
    this.attempt(async (signal) => {
      const { texts } = this;
      if (!texts) return;
      const { dense, sparse } = session;
      const since = performance.now();
      this.indexed = undefined;
      this.answer = undefined;
      this.done = { texts: 0, since };
      try {
        const onProgress = (done: number) => {
          this.done = { texts: done, since };
        };
        await indexTexts(this.index, texts.passages, { dense, sparse }, onProgress, signal);
      } finally {
        this.done = undefined;
      }
      const milliseconds = performance.now() - since;
      this.indexed = { texts: texts.passages, name: texts.name, dense, sparse, milliseconds };
    });

  #ask({ texts, milliseconds }: Indexed): TemplateResult {
    return html`
      <form role="search" class="ask" @submit=${onSubmit(this.#search)}>
        <label>
          Query
          <input
            type="search"
            name="query"
            autocomplete="off"
            placeholder="how do birds find their way?"
            @input=${(event: InputEvent) => this.#search((event.target as HTMLInputElement).form)}
          />
        </label>
        <button type="submit" class="large">Search</button>
      </form>
      <p class="timing">
        ${this.answer ? latency(this.answer) : html`${plural(texts.length, "passage")} indexed in ${time(milliseconds)}: ${count((texts.length / milliseconds) * 1000)} texts a second.`}
      </p>
      ${this.answer ? this.#answers(this.answer, texts) : nothing} ${this.#exports()}
    `;
  }

  /** Searches as one types; an answer that comes after that of a later question is dropped. */
  readonly #search = async (form: HTMLFormElement | null) => {
    const { indexed } = this;
    if (!form || !indexed) return;
    const text = String(new FormData(form).get("query")).trim();
    const asked = ++this.#asked;
    if (text === "") {
      this.answer = undefined;
      return;
    }
    await this.attempt(async (signal) => {
      const answer = await this.#answer(text, indexed, signal);
      if (asked === this.#asked) this.answer = answer;
    });
  };

  async #answer(text: string, { texts, dense, sparse }: Indexed, signal: AbortSignal): Promise<Answer> {
    const options = { task: "query", signal };
    const [row, vector] = await Promise.all([
      timed(dense && (() => dense.embedder.encode([text], { ...options, normalize: true }))),
      timed(sparse && (() => sparse.embedder.encodeSparse([text], { ...options, labels: true }))),
    ]);
    const query = vector.result?.[0];
    const rankings = await this.index.search(row.result?.data, query, SHOWN);
    const words = dense ? ((await dense.embedder.tokenize([text], { signal }))[0] ?? []) : [];
    const tokens = (kind: Kind, model: LoadedModel | undefined) =>
      tokensOf(rankings[kind]?.hits.map(({ document }) => document) ?? [], texts, model, signal);
    return {
      text,
      rankings,
      embedding: {
        ...(dense && { dense: row.milliseconds }),
        ...(sparse && { sparse: vector.milliseconds }),
      },
      query,
      words: new Set(
        words.filter(({ special, text }) => !special && text.length >= SHORTEST_WORD).map(({ id }) => id),
      ),
      tokens: {
        dense: await tokens("dense", dense),
        sparse: await tokens("sparse", sparse),
        hybrid: await tokens("hybrid", sparse),
      },
    };
  }

  #answers(answer: Answer, texts: string[]): TemplateResult {
    const kinds = (Object.keys(KINDS) as Kind[]).filter((kind) => answer.rankings[kind]);
    return html`
      <div class="rankings" data-count=${kinds.length}>
        ${kinds.map((kind) => {
          const ranking = answer.rankings[kind];
          return ranking ? column(kind, ranking, answer, texts) : nothing;
        })}
      </div>
      ${
        kinds.length < 3
          ? html`<p class="hint">
              <a href="#load">Load a ${session.dense ? "sparse" : "dense"} model</a> as well to see hybrid search.
            </p>`
          : nothing
      }
    `;
  }

  #exports(): TemplateResult {
    const usable = Object.entries(FORMATS).filter(([, { of }]) => of === "both" || this.indexed?.[of]);
    return html`
      <form class="export" @submit=${onSubmit(this.#export)}>
        <label>
          Vectors as
          <select name="format">
            ${usable.map(([name, { title }]) => html`<option value=${name}>${title}</option>`)}
          </select>
        </label>
        <button type="submit" class="quiet">Export</button>
      </form>
    `;
  }

  readonly #export = (form: HTMLFormElement) =>
    this.attempt(async () => {
      const format = String(new FormData(form).get("format")) as FormatName;
      const { of, extension } = FORMATS[format];
      const model =
        (of === "sparse" ? this.indexed?.sparse : (this.indexed?.dense ?? this.indexed?.sparse))?.name ?? "";
      download(`vectors-${format}.${extension}`, await this.index.export(format, model));
    });
}

/** A result with the time that it took. */
async function timed<T>(
  work: (() => Promise<T>) | undefined,
): Promise<{ result: T | undefined; milliseconds: number }> {
  const start = performance.now();
  const result = await work?.();
  return { result, milliseconds: performance.now() - start };
}

/** The tokens of some documents, to mark words in them. */
async function tokensOf(
  documents: number[],
  texts: string[],
  model: LoadedModel | undefined,
  signal: AbortSignal,
): Promise<Map<number, Token[]>> {
  if (!model || documents.length === 0) return new Map();
  const tokens = await model.embedder.tokenize(
    documents.map((document) => texts[document] ?? ""),
    { addSpecialTokens: false, signal },
  );
  return new Map(documents.map((document, at) => [document, tokens[at] ?? []]));
}

function latency({ embedding, rankings }: Answer): TemplateResult {
  const stages = [
    ...Object.entries(embedding).map(([kind, milliseconds]) => `${kind} query ${time(milliseconds)}`),
    ...Object.entries(rankings).map(
      ([kind, { milliseconds }]) =>
        `${kind === "hybrid" ? "fusion" : `${kind} search`} ${time(milliseconds)}`,
    ),
  ];
  return html`${stages.join(" · ")}`;
}

function column(kind: Kind, { hits }: Ranking, answer: Answer, texts: string[]): TemplateResult {
  const labels = new Map(
    [...(answer.query?.indices ?? [])].map((index, at) => [index, answer.query?.labels?.[at]]),
  );
  return html`
    <section class="ranking ${kind}" aria-labelledby="${kind}-title">
      <h3 id="${kind}-title">${KINDS[kind].title} <small>${KINDS[kind].how}</small></h3>
      ${hits.length === 0 ? html`<p class="hint">No passage shares a term with the query.</p>` : nothing}
      <ol>
        ${hits.map(({ document, score, terms }) => {
          const wanted = terms ? new Set(terms.map(({ index }) => index)) : answer.words;
          const text = texts[document] ?? "";
          return html`
            <li>
              <p class="passage">${highlight(text, answer.tokens[kind].get(document) ?? [], wanted)}</p>
              <p class="why">
                <span class="score">${kind === "hybrid" ? score.toFixed(4) : short(score)}</span>
                ${terms
                  ?.slice(0, TERMS)
                  .map(
                    ({ index, share }) =>
                      html`<span class="term">${labels.get(index) ?? index} ${short(share)}</span>`,
                  )}
              </p>
            </li>
          `;
        })}
      </ol>
    </section>
  `;
}

function progress(done: { texts: number; since: number }, total: number): TemplateResult {
  const rate = (done.texts / (performance.now() - done.since)) * 1000;
  return html`
    <progress aria-label="Indexing" max=${total} .value=${done.texts}></progress>
    <output>${count(done.texts)} of ${count(total)}, ${count(rate)} texts a second</output>
  `;
}

/** All passages; only those in sight are in the document. */
function browse(passages: string[]): TemplateResult {
  const characters = passages.reduce((sum, passage) => sum + passage.length, 0);
  return html`
    <details>
      <summary>Browse them (${size(characters)} of text)</summary>
      <div class="browse" tabindex="0" role="group" aria-label="All passages">
        ${virtualize({
          items: passages,
          scroller: true,
          renderItem: (passage, index) => html`<p class="passage"><span>${index + 1}</span> ${passage}</p>`,
        })}
      </div>
    </details>
  `;
}

customElements.define("gossamer-search", SearchPanel);
