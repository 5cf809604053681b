/** The frame of the page: title, navigation, the loaded models, and one panel at a time. */

import { html, LitElement, nothing, type TemplateResult } from "lit";
import { demo } from "./demo.js";
import { lastPart, size } from "./format.js";
import { session } from "./session.js";

interface Place {
  title: string;
  panel: TemplateResult;
  /**
   * Imports the panel's code when it is first shown, since the plot library is larger than
   * everything else.
   */
  load: () => Promise<unknown>;
}

const PLACES: Record<string, Place> = {
  search: {
    title: "Search",
    panel: html`<gossamer-search></gossamer-search>`,
    load: () => import("./panels/search.js"),
  },
  compare: {
    title: "Compare",
    panel: html`<gossamer-compare></gossamer-compare>`,
    load: () => import("./panels/compare.js"),
  },
  xray: {
    title: "X-ray",
    panel: html`<gossamer-xray></gossamer-xray>`,
    load: () => import("./panels/xray.js"),
  },
  bench: {
    title: "Bench",
    panel: html`<gossamer-bench></gossamer-bench>`,
    load: () => import("./panels/bench.js"),
  },
  load: {
    title: "Models",
    panel: html`<gossamer-load></gossamer-load>`,
    load: () => import("./panels/load.js"),
  },
  code: {
    title: "Code",
    panel: html`<gossamer-code></gossamer-code>`,
    load: () => import("./panels/code.js"),
  },
};

class Page extends LitElement {
  static override properties = { place: { state: true } };
  declare private place: string;
  /** Panels that have been shown. They stay in the document and keep their state. */
  readonly #visited = new Set<string>();

  constructor() {
    super();
    this.place = "search";
  }

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    for (const source of [session, demo]) source.addEventListener("change", () => this.requestUpdate());
    addEventListener("hashchange", this.#go);
    this.#go();
  }

  readonly #go = () => {
    const place = location.hash.slice(1);
    this.place = place in PLACES ? place : "search";
    this.#visited.add(this.place);
    void PLACES[this.place]?.load();
  };

  protected override render(): TemplateResult {
    return html`
      <header>
        <div class="brand">
          <img src="./icon.svg" alt="" width="36" height="36" />
          <h1>Gossamer</h1>
        </div>
        <p class="tagline">Dense and sparse text embeddings, computed in this browser. What you type stays here.</p>
        <p class="loaded" aria-live="polite">${this.#loaded()}</p>
        <nav aria-label="Panels">
          ${Object.entries(PLACES).map(
            ([name, { title }]) =>
              html`<a href="#${name}" aria-current=${this.place === name ? "page" : nothing}>${title}</a>`,
          )}
        </nav>
      </header>
      <main>
        ${Object.entries(PLACES).map(([name, { panel }]) =>
          this.#visited.has(name)
            ? html`<section ?hidden=${this.place !== name} data-panel=${name}>${panel}</section>`
            : nothing,
        )}
      </main>
    `;
  }

  #loaded(): TemplateResult | TemplateResult[] {
    if (session.models.length === 0) {
      return html`<span class="chip">No model yet</span>`;
    }
    return session.models.map(
      (model) =>
        html`<span class="chip ${session.roles(model).join(" ")}"
          >${lastPart(model.name)}, ${size(model.embedder.info.weightBytes)}</span
        >`,
    );
  }
}

customElements.define("gossamer-page", Page);
