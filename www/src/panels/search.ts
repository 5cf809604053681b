/** Dense, sparse and hybrid search side by side, over the page's or the visitor's passages. */

import { virtualize } from "@lit-labs/virtualizer/virtualize.js";
import { type Remote, transfer, wrap } from "comlink";
import type { Token } from "gossamer-embed";
import { html, nothing, type TemplateResult } from "lit";
import { demo, ROLES } from "../demo.js";
import { download, filesOf } from "../files.js";
import { count, plural, size, time } from "../format.js";
import { explain, focusOn, modelWanted, onSubmit, Panel } from "../panel.js";
import { type Answer, column, KINDS, type Kind, SHOWN, skeleton } from "../search/columns.js";
import { FORMATS, type FormatName } from "../search/export.js";
import { areOf, indexTexts, type Models } from "../search/indexing.js";
import { deleteIndex } from "../search/kept.js";
import type { SearchIndex } from "../search/worker.js";
import { type LoadedModel, type Role, session } from "../session.js";

/** Number of hits that a reranker orders. */
const RERANKED = 20;
/** Milliseconds after which an index that is being made is kept for the next visit. */
const KEEPING = 15_000;
/**
 * The kind of work of indexing. It differs from that of queries, so both can run at the same time.
 */
const INDEX = "index";

/** What has appeared after such work, for the focus. */
const TEXTS = { kind: "texts", appears: [".corpus + .actions button:enabled", ".corpus > summary"] };
const BUILDING = { kind: INDEX, appears: ["[name=query]"] };

/** Example queries. A click runs one. */
const EXAMPLES = [
  "how do birds find their way?",
  "harbour at night",
  "why does bread rise?",
  "a machine that learns",
];

/** The step that makes each ranking. */
const STAGES: Record<Kind, string> = {
  dense: "dense search",
  sparse: "sparse search",
  hybrid: "fusion",
  reranked: "reranking",
};

interface Texts {
  name: string;
  passages: string[];
  /** The kinds of vectors that came with them, and are not in the index yet. */
  vectors: Role[];
}

interface Indexed {
  texts: string[];
  name: string;
  /** `spaceId` of each kind of vectors that is indexed. */
  spaces: Partial<Record<Role, string>>;
  /** Number of texts that have vectors of each kind so far. */
  done: Partial<Record<Role, number>>;
  /**
   * Where the vectors are from: the page, an earlier visit, or work that took so many milliseconds.
   */
  origin: "page" | "kept" | number;
}

interface Work {
  roles: Role[];
  since: number;
  /** Number of vectors that there were at that time. */
  before: number;
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
  declare private texts: Texts | undefined;
  declare private indexed: Indexed | undefined;
  /** The indexing in progress. */
  declare private indexing: Work | undefined;
  declare private answer: Answer | undefined;
  /** The ranking shown on a narrow screen. */
  declare private shown: Kind;
  declare private dragging: boolean;
  private readonly index: Remote<SearchIndex> = wrap(
    new Worker(new URL("../search/worker.ts", import.meta.url), { type: "module" }),
  );
  /** The initial query, for a visitor who has not loaded a model yet. */
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
    void this.attempt(() => this.#begin(), { kind: TEXTS.kind });
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

  /** The loaded models that some of the chosen texts have no vectors of in the index. */
  #missing(): Models {
    const { texts, indexed } = this;
    if (!texts) return {};
    const known = indexed?.texts === texts.passages && this.indexing === undefined ? this.#models() : {};
    const isWhole = (role: Role) => known[role] && indexed?.done[role] === texts.passages.length;
    return Object.fromEntries(
      ROLES.flatMap((role) => (session[role] && !isWhole(role) ? [[role, session[role]] as const] : [])),
    );
  }

  /** Runs the current query again when another model is available. */
  readonly #askAgain = () => {
    const form = this.querySelector<HTMLFormElement>("form.ask");
    if (this.#available() !== this.#answered) void this.#search(form);
  };

  /** What the next answer is made with. */
  #available(): string {
    const spaces = Object.values(this.#models()).map(({ embedder }) => embedder.info.spaceId);
    return [...spaces, session.reranker?.embedder.info.spaceId].join();
  }

  protected override render(): TemplateResult {
    const wanted = session.models.length === 0 && demo.downloads.size === 0;
    return html`
      <h2>Search</h2>
      <p class="lead">
        Dense search finds the same meaning. Sparse search finds the same terms, and shows which ones. Hybrid search
        combines the two.
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
            a .txt, .md, .json, .jsonl or .csv file here to search your own texts, or vectors that you exported as JSONL.
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
          <button type="button" class="quiet" @click=${() => this.attempt(() => this.#useCorpus(), TEXTS)}>
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
      <p class="indexing">${indexed && (indexing ? progress(indexed, indexing) : unfinished(indexed))}</p>
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
      if (file) await this.#read(file.name, file.name, file);
    }, TEXTS);

  readonly #paste = (form: HTMLFormElement) =>
    this.attempt(
      () => this.#read("Pasted texts", "pasted.txt", new Blob([String(new FormData(form).get("pasted"))])),
      TEXTS,
    );

  async #read(name: string, file: string, blob: Blob): Promise<void> {
    const { texts: passages, vectors } = await this.index.read(file, blob);
    this.texts = { name, passages, vectors };
    this.said = `${name}: ${plural(passages.length, "passage")}.`;
    // With its vectors a file needs no decision: it is indexed at once.
    if (vectors.some((role) => session[role]) && this.indexing === undefined) return this.#build();
    await this.updateComplete;
    focusOn(this, ...TEXTS.appears);
  }

  /** Begins with the index of the last visit, or with the page's passages. */
  async #begin(): Promise<void> {
    const kept = await this.index.restore();
    if (!kept) return this.#useCorpus(false);
    const { name, texts, spaces, done } = kept;
    this.texts = { name, passages: texts, vectors: [] };
    await this.#show({ texts, name, spaces, done, origin: "kept" });
  }

  /** Uses the page's passages, and their vectors if the page has them. */
  async #useCorpus(forgets = true): Promise<void> {
    const [response, vectors] = await Promise.all([
      fetch(new URL("../corpus.txt", import.meta.url)),
      demo.index(),
    ]);
    if (!response.ok)
      throw new Error(`The passages of this page cannot be read (${response.status}): load it again.`);
    const name = "Passages of this page";
    const { texts: passages } = await this.index.read("corpus.txt", await response.blob());
    this.texts = { name, passages, vectors: [] };
    if (!vectors || this.indexing !== undefined) return;
    const { spaces, dense, sparse } = vectors;
    if (forgets) await deleteIndex();
    await this.index.reset(passages);
    await this.index.add(transfer(dense, [dense.data.buffer]), sparse);
    const done = { dense: passages.length, sparse: passages.length };
    await this.#show({ texts: passages, name, spaces, done, origin: "page" });
  }

  /** Searches a complete index from now on. */
  async #show(indexed: Indexed): Promise<void> {
    this.indexed = indexed;
    this.answer = undefined;
    this.#answered = "";
    await this.updateComplete;
    this.#askAgain();
  }

  readonly #build = () =>
    this.attempt(async (signal) => {
      const { texts, indexed } = this;
      if (!texts) return;
      const { passages, name } = texts;
      const models = Object.entries(this.#missing()) as [Role, LoadedModel][];
      const isSame = indexed?.texts === passages;
      // Vectors of the same model and texts are there already, if an earlier indexing was
      // cancelled.
      const isBegun = ([role, { embedder }]: [Role, LoadedModel]) =>
        isSame && indexed.spaces[role] === embedder.info.spaceId;
      const anew = isSame ? models.filter((model) => !isBegun(model)).map(([role]) => role) : ROLES;
      await this.index.reset(passages, anew);
      const spaces = isSame ? { ...indexed.spaces } : {};
      const done = isSame ? { ...indexed.done } : {};
      for (const role of anew) {
        delete spaces[role];
        delete done[role];
      }
      for (const [role, { embedder }] of models) {
        spaces[role] = embedder.info.spaceId;
        done[role] ??= 0;
      }
      const since = performance.now();
      const count = () => models.reduce((sum, [role]) => sum + (done[role] ?? 0), 0);
      const update = () => {
        this.indexed = { texts: passages, name, spaces, done, origin: performance.now() - since };
      };
      this.indexing = { roles: models.map(([role]) => role), since, before: count() };
      update();
      this.answer = undefined;
      let kept = since;
      try {
        await allOf(
          models.map(async ([role, model]) => {
            if (await this.#adopt(texts, role, model, signal)) {
              done[role] = passages.length;
              return update();
            }
            const onProgress = (at: number) => {
              done[role] = at;
              update();
              if (performance.now() - kept < KEEPING) return;
              kept = performance.now();
              void this.#keep();
            };
            await indexTexts(this.index, passages, role, model, done[role] ?? 0, onProgress, signal);
          }),
        );
      } finally {
        this.indexing = undefined;
        update();
        if (this.indexed) this.said = state(this.indexed);
        if (count() > 0) await this.#keep();
        this.#answered = "";
        this.#askAgain();
      }
    }, BUILDING);

  /** Takes the vectors that came with the texts, if they are this model's. */
  async #adopt(texts: Texts, role: Role, model: LoadedModel, signal: AbortSignal): Promise<boolean> {
    if (!texts.vectors.includes(role)) return false;
    const fit = await areOf(this.index, texts.passages, role, model, signal);
    texts.vectors = texts.vectors.filter((other) => other !== role);
    if (fit) await this.index.adopt(role);
    else
      this.problem = `The ${role} vectors of ${texts.name} are not ${model.name}'s, so its texts are embedded again.`;
    return fit;
  }

  /** Keeps the index for the next visit. Where there is no room it is only used. */
  async #keep(): Promise<void> {
    const { indexed } = this;
    if (!indexed) return;
    const { name, spaces } = indexed;
    await this.index.keep({ name, spaces: { ...spaces } }).catch(() => {});
  }

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
      ${this.#failed()} ${this.#answers(indexed?.texts ?? [])} ${indexed ? this.#exports() : nothing}
    `;
  }

  /** Models of the page, or of the last visit, that failed to load. */
  #failed(): TemplateResult[] {
    return [...demo.problems].map(
      ([use, problem]) => html`<p class="message">
        ${explain(problem)} <button type="button" class="quiet" @click=${() => demo.load(use)}>Try again</button>
        ${
          use === "reranker"
            ? nothing
            : html`<button type="button" class="quiet" @click=${() => demo.loadOwn(use)}>Load the page's ${use} model</button>`
        }
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
    this.#answered = this.#available();
    if (text === "") {
      this.answer = undefined;
      return;
    }
    await this.attempt(
      async (signal) => {
        const answer = await this.#answer(text, indexed.texts, models, signal);
        if (asked !== this.#asked) return;
        this.answer = answer;
        this.said = announcement(answer);
        const reranked = await this.#rerank(answer, indexed.texts, signal);
        if (asked !== this.#asked || !reranked) return;
        this.answer = reranked;
        this.said = announcement(reranked);
      },
      { kind: "query" },
    );
  };

  /** Orders the best hits once more; undefined without a reranker. */
  async #rerank(answer: Answer, texts: string[], signal: AbortSignal): Promise<Answer | undefined> {
    const { hybrid, dense, sparse } = answer.rankings;
    const found = (hybrid ?? dense ?? sparse)?.hits.slice(0, RERANKED) ?? [];
    const { reranker } = session;
    if (!reranker) return undefined;
    const documents = found.map(({ document }) => texts[document] ?? "");
    const start = performance.now();
    const ranked = await reranker.embedder.rerank(answer.text, documents, { signal });
    const hits = ranked.flatMap(({ index, score }) => {
      const hit = found[index];
      return hit ? [{ document: hit.document, score }] : [];
    });
    const reranked = { hits, milliseconds: performance.now() - start };
    return { ...answer, rankings: { ...answer.rankings, reranked } };
  }

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
    const rankings = await this.index.search(row.result?.data, query, Math.max(SHOWN, RERANKED));
    const tokens = (kind: Kind) =>
      tokensOf(
        rankings[kind]?.hits.slice(0, SHOWN).map(({ document }) => document) ?? [],
        texts,
        sparse,
        signal,
      );
    return {
      text,
      rankings,
      embedding: {
        ...(dense && { dense: row.milliseconds }),
        ...(sparse && { sparse: vector.milliseconds }),
      },
      query,
      tokens: {
        // These scores do not depend on single words, so nothing is marked.
        dense: new Map(),
        reranked: new Map(),
        sparse: await tokens("sparse"),
        hybrid: await tokens("hybrid"),
      },
    };
  }

  #answers(texts: string[]): TemplateResult | typeof nothing {
    const { answer, shown } = this;
    const isComing = (kind: Kind) =>
      kind === "reranked"
        ? demo.expects("reranker") || (answer && session.reranker)
        : ROLES.some((role) => demo.expects(role));
    const kinds = (Object.keys(KINDS) as Kind[]).filter((kind) => isComing(kind) || answer?.rankings[kind]);
    if (kinds.length === 0) return nothing;
    const [missing] = ROLES.filter((role) => !session[role] && !demo.expects(role));
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
          return answer && ranking ? column(kind, ranking, answer, texts) : skeleton(kind, answer);
        })}
      </div>
      ${
        missing
          ? html`<p class="hint">
              <button type="button" class="quiet" @click=${() => demo.load(missing)}>Load the page's ${missing} model</button>
              to see hybrid search.
            </p>`
          : nothing
      }
      ${
        answer && !session.reranker
          ? html`<p class="hint"><a href="#load">Load a reranker</a> to order these results once more.</p>`
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
      ([kind, { milliseconds }]) => `${STAGES[kind as Kind]} ${time(milliseconds)}`,
    ),
  ];
  return html`${stages.join(" · ")}`;
}

/** Said of an index whose making was cancelled. */
function unfinished(indexed: Indexed): string {
  const { texts, done } = indexed;
  return Object.values(done).some((count) => count < texts.length) ? state(indexed) : "";
}

/** The state of the index, shown while there is no answer. */
function state({ texts, done, origin }: Indexed): string {
  const all = plural(texts.length, "passage");
  const least = Math.min(...Object.values(done));
  if (least < texts.length) return `${count(least)} of ${all} indexed.`;
  if (origin === "page") return `${all}, indexed when this page was built.`;
  if (origin === "kept") return `${all}, indexed on an earlier visit.`;
  return `${all} indexed in ${time(origin)}: ${plural((texts.length / origin) * 1000, "text")} a second.`;
}

/** Several pieces of work: all of them have ended when the first error is thrown. */
async function allOf(work: Promise<void>[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}

/** The announcement of an answer for screen readers. */
function announcement({ text, rankings }: Answer): string {
  const results = Object.entries(rankings).map(
    ([kind, { hits }]) => `${Math.min(SHOWN, hits.length)} ${kind}`,
  );
  return `Results for “${text}”: ${results.join(", ")}.`;
}

function progress({ texts, done }: Indexed, { roles, since, before }: Work): TemplateResult {
  const vectors = roles.reduce((sum, role) => sum + (done[role] ?? 0), 0);
  const rate = (vectors - before) / (performance.now() - since) / roles.length;
  const at = vectors / roles.length;
  const left = rate > 0 ? `, ${time((texts.length - at) / rate)} left` : "";
  return html`
    <progress aria-label="Indexing" max=${texts.length} .value=${at}></progress>
    <output aria-live="off">${count(at)} of ${count(texts.length)}, ${plural(rate * 1000, "text")} a second${left}</output>
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
