/**
 * The frame of the page: title, navigation, the loaded models, one panel at a time, and the drawer
 * in which models are chosen.
 */

import { html, LitElement, nothing, type TemplateResult } from "lit";
import { demo } from "./demo.js";
import { lastPart, size } from "./format.js";
import { focusOn } from "./panel.js";
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
  code: {
    title: "Code",
    panel: html`<gossamer-code></gossamer-code>`,
    load: () => import("./panels/code.js"),
  },
};

/** The fragment of the address that opens the drawer. */
const DRAWER = "load";

class Page extends LitElement {
  static override properties = { place: { state: true }, drawn: { state: true } };
  /** The panel that is shown; behind the drawer, if it is open. */
  declare private place: string;
  /** Whether the drawer is open. */
  declare private drawn: boolean;
  /** Panels that have been shown. They stay in the document and keep their state. */
  readonly #visited = new Set<string>();

  constructor() {
    super();
    this.place = "search";
    this.drawn = false;
  }

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    for (const source of [session, demo]) source.addEventListener("change", () => this.requestUpdate());
    addEventListener("hashchange", async () => {
      const behind = this.drawn ? this.place : undefined;
      await this.#go();
      // Where the drawer has closed over its panel, the browser gives the focus back.
      if (this.drawn || this.place !== behind) await this.#focus();
    });
    demo.restore();
    void this.#go();
  }

  /** Shows what the address names. */
  readonly #go = async () => {
    const place = location.hash.slice(1);
    this.drawn = place === DRAWER;
    this.#visited.add(place);
    if (this.drawn) return void (await import("./panels/load.js"));
    this.place = place in PLACES ? place : "search";
    this.#visited.add(this.place);
    if (this.place === "search") void demo.start();
    await PLACES[this.place]?.load();
  };

  /** The focus goes to what has appeared. */
  readonly #focus = async () => {
    await this.updateComplete;
    const shown = this.querySelector(`[data-panel=${this.drawn ? DRAWER : this.place}]`);
    await (shown?.firstElementChild as LitElement | null)?.updateComplete;
    if (shown) focusOn(shown, "h2");
  };

  protected override updated(): void {
    const drawer = this.querySelector("dialog");
    if (!drawer || drawer.open === this.drawn) return;
    if (this.drawn) drawer.showModal();
    else drawer.close();
  }

  /** Esc, the button and a click beside the drawer close it. */
  readonly #closed = () => {
    if (location.hash === `#${DRAWER}`) location.hash = this.place;
  };

  readonly #beside = (event: MouseEvent) => {
    if (event.target === event.currentTarget) this.#closed();
  };

  protected override render(): TemplateResult {
    return html`
      <header>
        <div class="brand">
          <img src="./icon.svg" alt="" width="36" height="36" />
          <h1>Gossamer</h1>
        </div>
        <p class="tagline">Dense and sparse text embeddings, computed in this browser. What you type stays here.</p>
        <div class="models">
          <p class="loaded" aria-live="polite">${this.#loaded()}</p>
          <a class="button quiet" href="#${DRAWER}" aria-haspopup="dialog">Models…</a>
        </div>
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
      <dialog
        class="drawer"
        data-panel=${DRAWER}
        aria-label="Models"
        ?hidden=${!this.drawn}
        @close=${this.#closed}
        @click=${this.#beside}
      >${this.#visited.has(DRAWER) ? html`<gossamer-load></gossamer-load>` : nothing}</dialog>
    `;
  }

  #loaded(): TemplateResult | TemplateResult[] {
    if (session.models.length === 0) {
      const [download] = demo.downloads.values();
      return html`<span class="chip">${download ? "Loading models…" : "No model yet"}</span>`;
    }
    return session.models.map(
      (model) =>
        html`<span class="chip ${session.uses(model).join(" ")}"
          >${lastPart(model.name)}<span class="size">, ${size(model.embedder.info.weightBytes)}</span></span
        >`,
    );
  }
}

customElements.define("gossamer-page", Page);
