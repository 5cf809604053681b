/** Dense, sparse and hybrid search side by side, over the page's or the visitor's passages. */

import { virtualize } from "@lit-labs/virtualizer/virtualize.js";
import { type Remote, transfer, wrap } from "comlink";
import type { SparseVector, Token } from "gossamer-embed";
import { html, nothing, type TemplateResult } from "lit";
import { demo, ROLES } from "../demo.js";
import { download, filesOf } from "../files.js";
import { count, fixed, plural, size, time } from "../format.js";
import { highlight } from "../highlight.js";
import { arriving, explain, modelWanted, onSubmit, Panel } from "../panel.js";
import { FORMATS, type FormatName } from "../search/export.js";
import { indexTexts, type Models } from "../search/indexing.js";
import type { Ranking, Rankings, SearchIndex } from "../search/worker.js";
import { type LoadedModel, type Role, session } from "../session.js";

/** Number of hits shown in each ranking. */
const SHOWN = 10;
/** Number of terms shown with a hit: those with the largest share of its score. */
const TERMS = 5;
/**
 * The kind of work of indexing. It differs from that of queries, so both can run at the same time.
 */
const INDEX = "index";

const KINDS = {
  dense: { title: "Dense", how: "cosine" },
  hybrid: { title: "Hybrid", how: "reciprocal rank fusion" },
  sparse: { title: "Sparse", how: "dot product" },
} as const;

type Kind = keyof typeof KINDS;

/** Example queries. A click runs one. */
const EXAMPLES = [
  "how do birds find their way?",
  "harbour at night",
  "why does bread rise?",
  "a machine that learns",
];

/** Number of decimals of the scores in each ranking. */
const DECIMALS: Record<Kind, number> = { dense: 3, hybrid: 4, sparse: 2 };

interface Indexed {
  texts: string[];
  name: string;
  /** `spaceId` of each kind of vectors that is indexed. */
  spaces: Partial<Record<Role, string>>;
  /** Number of texts indexed so far. */
  done: number;
  /** Duration of indexing; undefined for the index that comes with the page. */
  milliseconds?: number;
}

interface Answer {
  text: string;
  rankings: Rankings;
  /** Milliseconds of each model for the query. */
  embedding: Partial<Record<Role, number>>;
  query: SparseVector | undefined;
  /** Tokens of the shown documents, by ranking and document. */
  tokens: Record<Kind, Map<number, Token[]>>;
}

class SearchPanel extends Panel {
  static override properties = {
    ...Panel.properties,
    texts: { state: true },
    indexed: { state: true },
    indexing: { state: true },
    answer: { state: true },
    shown: { state: true },
    dragging: { state: true },
  };
  /** The texts to index. */
  declare private texts: { name: string; passages: string[] } | undefined;
  declare private indexed: Indexed | undefined;
  /** Start of indexing, while it is in progress. */
  declare private indexing: number | undefined;
  declare private answer: Answer | undefined;
  /** The ranking shown on a narrow screen. */
  declare private shown: Kind;
  declare private dragging: boolean;
  private readonly index: Remote<SearchIndex> = wrap(
    new Worker(new URL("../search/worker.ts", import.meta.url), { type: "module" }),
  );
  /** The initial query, for a visitor who has not chosen a model yet. */
  readonly #initial = session.models.length === 0 ? (EXAMPLES[0] ?? "") : "";
  #asked = 0;
  /** The kinds of vectors that were available for the latest answer. */
  #answered = "";

  constructor() {
    super();
    this.dragging = false;
    this.shown = "hybrid";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    // Without a chosen model, the models that come with the page are loaded.
    if (session.models.length === 0) for (const role of ROLES) void demo.load(role);
    void this.attempt(() => this.#useCorpus(), "texts");
    session.addEventListener("change", this.#askAgain);
  }

  override disconnectedCallback(): void {
    session.removeEventListener("change", this.#askAgain);
    super.disconnectedCallback();
  }

  /** The loaded models whose vectors are in the index. */
  #models(): Models {
    const { indexed } = this;
    const usable = ROLES.flatMap((role) => {
      const model = session[role];
      return model && indexed?.spaces[role] === model.embedder.info.spaceId ? [[role, model] as const] : [];
    });
    return Object.fromEntries(usable);
  }

  /** The loaded models whose vectors of the chosen texts are not in the index. */
  #missing(): Models {
    const { texts, indexed } = this;
    if (!texts) return {};
    const known = indexed?.texts === texts.passages && this.indexing === undefined ? this.#models() : {};
    return Object.fromEntries(
      ROLES.flatMap((role) => (session[role] && !known[role] ? [[role, session[role]] as const] : [])),
    );
  }

  /** Runs the current query again when another model is available. */
  readonly #askAgain = () => {
    const form = this.querySelector<HTMLFormElement>("form.ask");
    if (Object.keys(this.#models()).join() !== this.#answered) void this.#search(form);
  };

  protected override render(): TemplateResult {
    const wanted = session.models.length === 0 && demo.downloads.size === 0;
    return html`
      <h2>Search</h2>
      <p class="lead">
        Dense search finds passages with the same meaning. Sparse search finds passages with the same terms, and says
        which ones matched. Hybrid search combines the two.
      </p>
      ${this.alert()}
      ${wanted ? modelWanted("Search needs a dense or a sparse model.", "dense") : nothing}
      ${this.#ask()} ${this.#corpus()}
    `;
  }

  #corpus(): TemplateResult {
    const { texts, indexed, indexing } = this;
    const missing = Object.keys(this.#missing());
    return html`
      <details class="corpus" ?open=${indexed !== undefined && indexed.texts !== texts?.passages}>
        <summary>${texts ? `${texts.name}: ${plural(texts.passages.length, "passage")}` : "Passages"}</summary>
        <div
          class="drop ${this.dragging ? "over" : ""}"
          @dragover=${this.#dragged}
          @dragleave=${this.#dragged}
          @drop=${this.#dragged}
        >
          <p>
            ${texts ? html`<strong>${texts.name}</strong>: ${plural(texts.passages.length, "passage")}.` : "Reading…"} Drop
            a .txt, .md, .json, .jsonl or .csv file here to search your own.
          </p>
          <label class="button quiet">
            Choose a file
            <input
              class="sr-only"
              type="file"
              name="documents"
              accept=".txt,.md,.json,.jsonl,.ndjson,.csv,.tsv"
              @change=${this.#take}
            />
          </label>
          <button type="button" class="quiet" @click=${() => this.attempt(() => this.#useCorpus(), "texts")}>
            Use the page's passages
          </button>
        </div>
        <form @submit=${onSubmit(this.#paste)}>
          <label>
            Or paste texts, one per line or paragraph
            <textarea name="pasted" rows="2"></textarea>
          </label>
          <p class="actions"><button type="submit" class="quiet">Take these texts</button></p>
        </form>
        ${texts ? browse(texts.passages) : nothing}
      </details>
      <p class="actions">
        ${
          texts && (missing.length > 0 || indexing !== undefined)
            ? html`<button type="button" ?disabled=${missing.length === 0 || indexing !== undefined} @click=${this.#build}>
                Index
              </button>`
            : nothing
        }
        ${indexing === undefined ? nothing : html`<button type="button" class="quiet" @click=${() => this.cancel(INDEX)}>Cancel</button>`}
      </p>
      <p class="indexing">${indexing !== undefined && indexed ? progress(indexed, indexing) : nothing}</p>
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
    }, "texts");

  readonly #paste = (form: HTMLFormElement) =>
    this.attempt(async () => {
      const pasted = new Blob([String(new FormData(form).get("pasted"))]);
      this.texts = { name: "Pasted texts", passages: await this.index.read("pasted.txt", pasted) };
    }, "texts");

  /** Uses the page's passages, and their vectors if the page has them. */
  async #useCorpus(): Promise<void> {
    const [response, vectors] = await Promise.all([
      fetch(new URL("../corpus.txt", import.meta.url)),
      demo.index(),
    ]);
    if (!response.ok)
      throw new Error(`The passages of this page cannot be read (${response.status}): load it again.`);
    const name = "Passages of this page";
    const passages = await this.index.read("corpus.txt", await response.blob());
    this.texts = { name, passages };
    if (!vectors || this.indexing !== undefined) return;
    await this.index.reset(passages);
    await this.index.add(transfer(vectors.dense, [vectors.dense.data.buffer]), vectors.sparse);
    this.indexed = { texts: passages, name, spaces: vectors.spaces, done: passages.length };
    this.answer = undefined;
    this.#answered = "";
    await this.updateComplete;
    this.#askAgain();
  }

  readonly #build = () =>
    this.attempt(async (signal) => {
      const { texts, indexed } = this;
      if (!texts) return;
      const same = indexed?.texts === texts.passages;
      const models = this.#missing();
      const roles = same ? (Object.keys(models) as Role[]) : ROLES;
      const since = performance.now();
      await this.index.reset(texts.passages, roles);
      const spaces = same ? { ...indexed.spaces } : {};
      for (const role of roles) delete spaces[role];
      for (const [role, { embedder }] of Object.entries(models)) spaces[role as Role] = embedder.info.spaceId;
      const status = { texts: texts.passages, name: texts.name, spaces };
      this.indexing = since;
      this.indexed = { ...status, done: 0 };
      this.answer = undefined;
      try {
        const onProgress = (done: number) => {
          this.indexed = { ...status, done };
        };
        await indexTexts(this.index, texts.passages, models, onProgress, signal);
        this.indexed = {
          ...status,
          done: texts.passages.length,
          milliseconds: performance.now() - since,
        };
      } finally {
        this.indexing = undefined;
      }
    }, INDEX);

  #ask(): TemplateResult {
    const { indexed, answer } = this;
    return html`
      <form role="search" class="ask" @submit=${onSubmit(this.#search)}>
        <label>
          Query
          <input
            type="search"
            name="query"
            autocomplete="off"
            .defaultValue=${this.#initial}
            placeholder=${EXAMPLES[0] ?? ""}
            @input=${(event: InputEvent) => this.#search((event.target as HTMLInputElement).form)}
          />
        </label>
        <button type="submit" class="large">Search</button>
      </form>
      <p class="examples">
        ${EXAMPLES.map((text) => html`<button type="button" class="quiet" @click=${() => this.#example(text)}>${text}</button>`)}
      </p>
      <p class="timing">${answer ? latency(answer) : indexed ? state(indexed) : nothing}</p>
      <p class="sr-only" role="status">${answer ? announcement(answer) : nothing}</p>
      ${this.#failed()} ${this.#answers(indexed?.texts ?? [])} ${indexed ? this.#exports() : nothing}
    `;
  }

  /** The page's models that failed to load. */
  #failed(): TemplateResult[] {
    return [...demo.problems].map(
      ([role, problem]) => html`<p class="message">
        ${explain(problem)} <button type="button" class="quiet" @click=${() => demo.load(role)}>Try again</button>
        <a href="#load">Choose another model</a>
      </p>`,
    );
  }

  readonly #example = (text: string) => {
    const form = this.querySelector<HTMLFormElement>("form.ask");
    const field = form?.elements.namedItem("query") as HTMLInputElement | null;
    if (!form || !field) return;
    field.value = text;
    void this.#search(form);
  };

  /** Searches while the visitor types. The answer to an outdated query is dropped. */
  readonly #search = async (form: HTMLFormElement | null) => {
    const { indexed } = this;
    const models = this.#models();
    if (!form || !indexed || Object.keys(models).length === 0) return;
    const text = String(new FormData(form).get("query")).trim();
    const asked = ++this.#asked;
    this.#answered = Object.keys(models).join();
    if (text === "") {
      this.answer = undefined;
      return;
    }
    await this.attempt(async (signal) => {
      const answer = await this.#answer(text, indexed.texts, models, signal);
      if (asked === this.#asked) this.answer = answer;
    }, "query");
  };

  async #answer(
    text: string,
    texts: string[],
    { dense, sparse }: Models,
    signal: AbortSignal,
  ): Promise<Answer> {
    const options = { task: "query", signal };
    const [row, vector] = await Promise.all([
      timed(dense && (() => dense.embedder.encode([text], { ...options, normalize: true }))),
      timed(sparse && (() => sparse.embedder.encodeSparse([text], { ...options, labels: true }))),
    ]);
    const query = vector.result?.[0];
    const rankings = await this.index.search(row.result?.data, query, SHOWN);
    const tokens = (kind: Kind) =>
      tokensOf(rankings[kind]?.hits.map(({ document }) => document) ?? [], texts, sparse, signal);
    return {
      text,
      rankings,
      embedding: {
        ...(dense && { dense: row.milliseconds }),
        ...(sparse && { sparse: vector.milliseconds }),
      },
      query,
      tokens: {
        // Dense scores do not depend on single words, so nothing is marked.
        dense: new Map(),
        sparse: await tokens("sparse"),
        hybrid: await tokens("hybrid"),
      },
    };
  }

  #answers(texts: string[]): TemplateResult | typeof nothing {
    const { answer, shown } = this;
    const coming = demo.downloads.size > 0;
    const kinds = (Object.keys(KINDS) as Kind[]).filter((kind) => coming || answer?.rankings[kind]);
    if (kinds.length === 0) return nothing;
    const [missing] = ROLES.filter((role) => !session[role]);
    const current = kinds.includes(shown) ? shown : (kinds[0] ?? "dense");
    return html`
      <div class="tabs" role="group" aria-label="Ranking">
        ${kinds.map(
          (kind) =>
            html`<button type="button" class="quiet" aria-pressed=${kind === current ? "true" : "false"} @click=${() => {
              this.shown = kind;
            }}>${KINDS[kind].title}</button>`,
        )}
      </div>
      <div class="rankings" data-count=${kinds.length} data-shown=${current}>
        ${kinds.map((kind) => {
          const ranking = answer?.rankings[kind];
          return answer && ranking ? column(kind, ranking, answer, texts) : skeleton(kind);
        })}
      </div>
      ${
        kinds.length < 3 && missing
          ? html`<p class="hint">
              <button type="button" class="quiet" @click=${() => demo.load(missing)}>Load the page's ${missing} model</button>
              to see hybrid search.
            </p>`
          : nothing
      }
    `;
  }

  #exports(): TemplateResult {
    const usable = Object.entries(FORMATS).filter(([, { of }]) => of === "both" || this.indexed?.spaces[of]);
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
      const { dense, sparse } = this.#models();
      const model = (of === "sparse" ? sparse : (dense ?? sparse))?.name ?? "";
      download(`vectors-${format}.${extension}`, await this.index.export(format, model));
    });
}

/** The result of some work and its duration. */
async function timed<T>(
  work: (() => Promise<T>) | undefined,
): Promise<{ result: T | undefined; milliseconds: number }> {
  const start = performance.now();
  const result = await work?.();
  return { result, milliseconds: performance.now() - start };
}

/** The tokens of documents, to mark words in them. */
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

/** The state of the index, shown while there is no answer. */
function state({ texts, done, milliseconds }: Indexed): string {
  if (done < texts.length) return `${count(done)} of ${plural(texts.length, "passage")} indexed.`;
  if (milliseconds === undefined)
    return `${plural(texts.length, "passage")}, indexed when this page was built.`;
  const rate = count((texts.length / milliseconds) * 1000);
  return `${plural(texts.length, "passage")} indexed in ${time(milliseconds)}: ${rate} texts a second.`;
}

/** The announcement of an answer for screen readers. */
function announcement({ text, rankings }: Answer): string {
  const results = Object.entries(rankings).map(([kind, { hits }]) => `${hits.length} ${kind}`);
  return `Results for “${text}”: ${results.join(", ")}.`;
}

/** Placeholder for a ranking whose model is being loaded. */
function skeleton(kind: Kind): TemplateResult {
  const download = kind === "hybrid" ? undefined : demo.downloads.get(kind);
  const { loaded = 0, total } = download ?? {};
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
                <output>${arriving(download)}</output>`
            : "Waiting for the models"
        }
      </p>
      <ol aria-hidden="true">
        ${Array.from({ length: 5 }, () => html`<li><span class="bone"></span><span class="bone short"></span></li>`)}
      </ol>
    </section>
  `;
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

function progress({ texts, done }: Indexed, since: number): TemplateResult {
  const rate = done / (performance.now() - since);
  const left = rate > 0 ? `, ${time((texts.length - done) / rate)} left` : "";
  return html`
    <progress aria-label="Indexing" max=${texts.length} .value=${done}></progress>
    <output>${count(done)} of ${count(texts.length)}, ${count(rate * 1000)} texts a second${left}</output>
  `;
}

/** The list of all passages. Only the visible ones are in the document. */
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
