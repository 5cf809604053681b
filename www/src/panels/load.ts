/** Choose a model, watch its download, and see what it is. */

import { type CachedModel, cache, type LoadOptions, load, type ModelInfo } from "gossamer-embed";
import { html, nothing, type TemplateResult } from "lit";
import { DEFAULT_WORKERS, type FoundGpu, findGpu } from "../device.js";
import { Download } from "../download.js";
import { type DroppedModel, droppedModel, filesOf } from "../files.js";
import { compact, count, lastPart, plural, size, time } from "../format.js";
import { OFFERS, type Offer } from "../models.js";
import { arriving, focusOn, isHubAway, onSubmit, Panel } from "../panel.js";
import { deleteIndex, keptIndex } from "../search/kept.js";
import { type LoadedModel, session } from "../session.js";

/** Values of the form for a model that is not in the list. */
const OTHER = "other";
const FILES = "files";

interface KeptIndex {
  name: string;
  passages: number;
  size: number;
}

class LoadPanel extends Panel {
  static override properties = {
    ...Panel.properties,
    choice: { state: true },
    dropped: { state: true },
    download: { state: true },
    gpu: { state: true },
    dragging: { state: true },
    warnings: { state: true },
    kept: { state: true },
    keptIndex: { state: true },
    hubless: { state: true },
  };
  /** The id of an offer, `OTHER` or `FILES`. */
  declare private choice: string;
  declare private dropped: DroppedModel | undefined;
  declare private download: Download | undefined;
  declare private gpu: FoundGpu;
  declare private dragging: boolean;
  /** Warnings of the load. */
  declare private warnings: string[];
  /** The models in the cache. */
  declare private kept: CachedModel[];
  /** The visitor's index in the cache. */
  declare private keptIndex: KeptIndex | undefined;
  /** Whether the last load has failed because the Hub cannot be reached. */
  declare private hubless: boolean;

  constructor() {
    super();
    this.choice = OFFERS[0]?.id ?? OTHER;
    this.gpu = { found: false, name: "looking for one" };
    this.dragging = false;
    this.warnings = [];
    this.kept = [];
    this.hubless = false;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void findGpu().then((gpu) => {
      this.gpu = gpu;
    });
    // The list is read anew whenever the drawer opens, since indexing changes it.
    addEventListener("hashchange", this.#list);
    void this.#list();
  }

  override disconnectedCallback(): void {
    removeEventListener("hashchange", this.#list);
    super.disconnectedCallback();
  }

  protected override render(): TemplateResult {
    const others = this.hubless
      ? html`<button type="button" class="quiet" @click=${this.#goLocal}>Choose local files</button>`
      : nothing;
    return html`
      <header class="drawer-head">
        <h2>Models</h2>
        <button type="button" class="quiet" @click=${() => this.closest("dialog")?.close()}>Close</button>
      </header>
      <p class="lead">
        A dense model finds passages with the same meaning. A sparse model finds the same terms, and shows which ones
        matched. A reranker puts what they found into a better order.
      </p>
      ${this.alert(others)}
      <form @submit=${onSubmit(this.#load)}>
        <fieldset ?disabled=${this.busy}>
          <legend>Model</legend>
          <div class="offers">
            ${OFFERS.map((offer) => this.#offer(offer))}
            ${this.#way(OTHER, "Another model", "Any model of the Hugging Face Hub, or the address of a folder.")}
            ${this.#way(FILES, "Local files", "A folder with a model, or a GGUF file. Nothing is uploaded.")}
          </div>
          ${this.choice === OTHER ? this.#named() : nothing} ${this.choice === FILES ? this.#drop() : nothing}
          <div class="options">
            <label>
              Weights
              <select name="dtype">
                <option value="auto">as saved, or 8 bits</option>
                <option value="q8">8 bits</option>
                <option value="q4">4 bits, smaller, less exact</option>
                <option value="f16">16 bits, for a GPU</option>
                <option value="f32">32 bits</option>
              </select>
            </label>
            <label>
              Device
              <select name="device" aria-describedby="gpu">
                <option value="cpu">CPU</option>
                <option value="auto">whichever is faster</option>
                <option value="webgpu" ?disabled=${!this.gpu.found}>WebGPU</option>
              </select>
            </label>
            <label>
              Workers
              <input name="workers" type="number" min="1" max="64" required .defaultValue=${String(DEFAULT_WORKERS)} />
            </label>
          </div>
          <p class="hint" id="gpu">
            ${`${plural(navigator.hardwareConcurrency, "core")}; GPU: ${this.gpu.name}.`}
          </p>
          <details>
            <summary>More options</summary>
            <div class="options">
              <label>
                Access token
                <input name="token" type="password" autocomplete="off" placeholder="hf_…" />
              </label>
              <label>
                Revision
                <input name="revision" autocomplete="off" placeholder="main" spellcheck="false" />
              </label>
              <label>
                Weight file
                <input name="file" autocomplete="off" placeholder="model-Q8_0.gguf" spellcheck="false" />
              </label>
              <label>
                Hub or mirror
                <input name="endpoint" type="url" autocomplete="off" placeholder="https://huggingface.co" />
              </label>
            </div>
            <p class="hint">
              The token is sent to the Hub only, and is not stored. This page may ask only its own host and
              huggingface.co.
            </p>
          </details>
        </fieldset>
        <p class="actions load-bar">
          <button type="submit" ?disabled=${this.busy}>Load</button>
          ${this.busy ? html`<button type="button" class="quiet" @click=${() => this.cancel()}>Cancel</button>` : nothing}
          ${this.busy && this.download ? html`<span>${arriving(this.download)}</span>` : nothing}
        </p>
      </form>
      <div role="status">${this.warnings.map((warning) => html`<p class="message">${warning}</p>`)}</div>
      ${session.models.map((model) => this.#loaded(model))}
      ${this.busy && this.download ? this.#progress(this.download) : this.#cached()}
    `;
  }

  #offer({ id, uses, size: bytes, note }: Offer): TemplateResult {
    return html`
      <label class="offer">
        <input
          type="radio"
          name="model"
          value=${id}
          .checked=${this.choice === id}
          @change=${() => this.#choose(id)}
        />
        <span class="offer-name">${lastPart(id)}</span>
        <span class="offer-facts">
          ${uses.map((use) => html`<span class="badge ${use}">${use}</span>`)} ${size(bytes)}
        </span>
        <span class="offer-note">${note}</span>
      </label>
    `;
  }

  #way(value: string, title: string, note: string): TemplateResult {
    return html`
      <label class="offer">
        <input
          type="radio"
          name="model"
          value=${value}
          .checked=${this.choice === value}
          @change=${() => this.#choose(value)}
        />
        <span class="offer-name">${title}</span>
        <span class="offer-note">${note}</span>
      </label>
    `;
  }

  #choose(choice: string): void {
    this.choice = choice;
  }

  readonly #goLocal = async () => {
    [this.choice, this.problem, this.hubless] = [FILES, undefined, false];
    await this.updateComplete;
    focusOn(this, "input[name=folder]");
  };

  #named(): TemplateResult {
    return html`
      <label>
        Hub id or address
        <input name="id" required autocomplete="off" spellcheck="false" placeholder="org/name or https://…/folder/" />
      </label>
    `;
  }

  #drop(): TemplateResult {
    const { dropped } = this;
    return html`
      <div
        class="drop ${this.dragging ? "over" : ""}"
        @dragover=${this.#dragged}
        @dragleave=${this.#dragged}
        @drop=${this.#dragged}
      >
        <p>${dropped ? `${dropped.name}: ${plural(dropped.files.size, "file")}` : "Drop a folder or a file here, or"}</p>
        <label class="button quiet">
          Choose a folder
          <input class="sr-only" type="file" name="folder" webkitdirectory @change=${this.#take} />
        </label>
        <label class="button quiet">
          Choose files
          <input class="sr-only" type="file" name="files" multiple @change=${this.#take} />
        </label>
      </div>
    `;
  }

  readonly #dragged = (event: DragEvent) => {
    event.preventDefault();
    this.dragging = event.type === "dragover";
    if (event.type === "drop") void this.#take(event);
  };

  readonly #take = async (event: Event) => {
    const files = await filesOf(event);
    if (files.length > 0) this.dropped = droppedModel(files);
  };

  readonly #load = (form: HTMLFormElement) => {
    this.hubless = false;
    const loading = async (signal: AbortSignal) => {
      const fields = new FormData(form);
      const { source, name, options } = this.#chosen(loadOptions(fields), fields);
      const download = new Download();
      this.download = download;
      const start = performance.now();
      const onProgress: LoadOptions["onProgress"] = (event) => {
        download.update(event);
        this.requestUpdate();
      };
      this.warnings = [];
      const onWarning: LoadOptions["onWarning"] = ({ message, code }) => {
        this.warnings = [...this.warnings, `${message} (${code})`];
      };
      const embedder = await load(source, { ...options, signal, onProgress, onWarning }).catch((error) => {
        this.hubless = isHubAway(error);
        throw error;
      });
      session.add({ embedder, source, options, name, milliseconds: performance.now() - start });
      this.said = `${name} is loaded.`;
      void embedder.cached.then(this.#list);
    };
    return this.attempt(loading, { appears: [".card h3"] });
  };

  readonly #list = async () => {
    const [kept, index] = await Promise.all([cache.list(), keptIndex().catch(() => undefined)]);
    this.kept = kept;
    const { facts, vectors } = index ?? {};
    this.keptIndex = facts &&
      vectors && {
        name: facts.name,
        passages: facts.texts.length,
        size: vectors.size + facts.texts.reduce((sum, text) => sum + text.length, 0),
      };
  };

  #cached(): TemplateResult | typeof nothing {
    const { kept, keptIndex } = this;
    if (kept.length === 0 && !keptIndex) return nothing;
    const bytes = kept.reduce((sum, { size }) => sum + size, keptIndex?.size ?? 0);
    return html`
      <section class="kept" aria-labelledby="kept-title">
        <h3 id="kept-title">Kept on this device: ${size(bytes)}</h3>
        <ul>
          ${kept.map(
            ({ model, dtype, size: bytes, lastUsed }) => html`
              <li>
                <span>${lastPart(model)}, ${dtype}, ${size(bytes)}, used ${lastUsed.toLocaleDateString("en")}</span>
                <button type="button" class="quiet" @click=${() => this.#forget(model)} aria-label="Delete ${lastPart(model)}, ${dtype}">
                  Delete
                </button>
              </li>
            `,
          )}
          ${
            keptIndex
              ? html`<li>
                  <span>Index of ${keptIndex.name}, ${plural(keptIndex.passages, "passage")}, ${size(keptIndex.size)}</span>
                  <button type="button" class="quiet" @click=${this.#forgetIndex} aria-label="Delete the index of ${keptIndex.name}">
                    Delete
                  </button>
                </li>`
              : nothing
          }
        </ul>
        <p class="hint">These load without a network. Nothing else is kept.</p>
      </section>
    `;
  }

  readonly #forget = (model: string) =>
    this.attempt(
      async () => {
        await cache.delete(model);
        await this.#list();
        this.said = `${lastPart(model)} is deleted.`;
      },
      { appears: [".kept button", "h2"] },
    );

  readonly #forgetIndex = () =>
    this.attempt(
      async () => {
        await deleteIndex();
        await this.#list();
        this.said = "The index is deleted.";
      },
      { appears: [".kept button", "h2"] },
    );

  readonly #unload = async (model: LoadedModel) => {
    session.remove(model);
    this.said = `${model.name} is unloaded.`;
    await this.updateComplete;
    focusOn(this, "h2");
  };

  /** The source and options that the form specifies. */
  #chosen(
    options: LoadedModel["options"],
    fields: FormData,
  ): Pick<LoadedModel, "source" | "name" | "options"> {
    if (this.choice === FILES) {
      if (!this.dropped)
        throw new Error("There are no files yet: drop a model's folder onto the box, or choose it.");
      const { files, name, gguf } = this.dropped;
      return { source: files, name, options: { ...options, file: options.file ?? gguf } };
    }
    if (this.choice === OTHER) {
      const id = text(fields, "id") ?? "";
      return { source: id, name: id, options };
    }
    const bundled = OFFERS.find(({ id }) => id === this.choice)?.bundled;
    if (!bundled) return { source: this.choice, name: this.choice, options };
    return {
      source: bundled.address,
      name: this.choice,
      options: { ...options, revision: bundled.revision },
    };
  }

  #progress(download: Download): TemplateResult {
    const { loaded, total, bytesPerSecond, millisecondsLeft } = download;
    const facts = [
      total === undefined ? size(loaded) : `${size(loaded)} of ${size(total)}`,
      ...(bytesPerSecond ? [`${size(bytesPerSecond)}/s`] : []),
      ...(millisecondsLeft === undefined ? [] : [`${time(millisecondsLeft)} left`]),
    ];
    return html`
      <div class="progress">
        <p>
          <progress aria-label="Loading the model" max=${total ?? 1} .value=${total === undefined ? 0 : loaded}></progress>
          <output aria-live="off">${facts.join(", ")}</output>
        </p>
        <ul class="files">
          ${download.files.map(
            (file) => html`
              <li>
                <span>${file.name}</span>
                <progress
                  aria-label=${file.name}
                  max=${file.total ?? 1}
                  .value=${file.done ? (file.total ?? 1) : file.loaded}
                ></progress>
                <span>${file.total === undefined ? "" : size(file.total)}</span>
              </li>
            `,
          )}
        </ul>
      </div>
    `;
  }

  #loaded(model: LoadedModel): TemplateResult {
    const { info } = model.embedder;
    const uses = session.uses(model);
    return html`
      <article class="card">
        <header>
          <h3 tabindex="-1">${model.name}</h3>
          ${uses.map((use) => html`<span class="badge ${use}">${use}</span>`)}
          <button type="button" class="quiet away" @click=${() => this.#unload(model)}>Unload</button>
        </header>
        <dl class="facts">
          ${facts(info, model.milliseconds).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
        </dl>
        <p class="actions">
          ${goTo("search", "Search with it")}
          ${uses.includes("dense") ? goTo("compare", "Compare texts") : nothing}
          ${uses.includes("sparse") ? goTo("xray", "X-ray a text") : nothing}
        </p>
      </article>
    `;
  }
}

/** Leaves the drawer for a panel. */
function goTo(panel: string, title: string): TemplateResult {
  const go = () => {
    location.hash = panel;
  };
  return html`<button type="button" class="quiet" @click=${go}>${title}</button>`;
}

/** The text of a field; undefined if it is empty. */
function text(fields: FormData, name: string): string | undefined {
  const value = fields.get(name);
  return typeof value === "string" && value.trim() !== "" ? value.trim() : undefined;
}

function loadOptions(fields: FormData): LoadedModel["options"] {
  return {
    device: text(fields, "device") as LoadOptions["device"],
    dtype: text(fields, "dtype") as LoadOptions["dtype"],
    workers: Number(text(fields, "workers")),
    token: text(fields, "token"),
    revision: text(fields, "revision"),
    file: text(fields, "file"),
    endpoint: text(fields, "endpoint"),
  };
}

function facts(info: ModelInfo, milliseconds: number): [string, string][] {
  return [
    ["Ready after", time(milliseconds)],
    ["Family", info.family],
    [info.kind === "reranker" ? "Labels" : "Dimensions", count(info.dimensions)],
    ["Longest text", plural(info.maxTokens, "token")],
    ["Parameters", compact(info.parameters)],
    ["Weights", `${info.dtype}, ${size(info.weightBytes)}`],
    ["WebAssembly memory", `${size(info.memoryBytes)} in ${plural(info.workers, "worker")}`],
    ["Build", `${info.simd === "relaxed-simd" ? "relaxed SIMD" : "baseline SIMD"}, ${info.dotKernel}`],
    [
      "Device",
      info.device === "cpu" ? "CPU" : ["WebGPU", ...(info.adapter ? [info.adapter] : [])].join(": "),
    ],
    ["Vector space", info.spaceId],
  ];
}

customElements.define("gossamer-load", LoadPanel);
