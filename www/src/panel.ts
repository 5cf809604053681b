/** What all panels have in common. */

import { GossamerError } from "gossamer-embed";
import { html, LitElement, nothing, type TemplateResult } from "lit";
import { demo } from "./demo.js";
import type { Download } from "./download.js";
import { size } from "./format.js";
import { type Role, session } from "./session.js";

/** What to do on this page, where the package's own words stop at its API. */
function advice(error: GossamerError): string {
  if (error.status === 401 || error.status === 403) {
    return "The model is private or gated: accept its terms on huggingface.co, and enter an access token under “More options”.";
  }
  if (error.code === "network" && !navigator.onLine) {
    return "This browser is offline: models that are kept on this device still load.";
  }
  if (error.code === "network") {
    return "This page may only ask its own host and huggingface.co: other hosts have to be allowed by whoever serves it.";
  }
  if (error.code === "out_of_memory") {
    return "Choose fewer workers, 4 bits or a smaller model, or unload one that you no longer need.";
  }
  return "";
}

/** A panel lives in the document itself, so that one style sheet serves all and labels reach across. */
export abstract class Panel extends LitElement {
  static override properties: Record<string, object> = {
    busy: { state: true },
    problem: { state: true },
  };
  /** Whether what a button asked for is under way. */
  declare protected busy: boolean;
  declare protected problem: string | undefined;
  /** What is under way, by what it is: work of one kind takes the place of earlier work of that kind. */
  readonly #working = new Map<string, AbortController>();

  constructor() {
    super();
    this.busy = false;
    this.problem = undefined;
  }

  protected override createRenderRoot(): HTMLElement {
    return this;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    session.addEventListener("change", this.#refresh);
    demo.addEventListener("change", this.#refresh);
  }

  override disconnectedCallback(): void {
    session.removeEventListener("change", this.#refresh);
    demo.removeEventListener("change", this.#refresh);
    super.disconnectedCallback();
  }

  readonly #refresh = () => this.requestUpdate();

  /** Does what a button asks for, in place of work of that kind that still runs; shows what went wrong. */
  protected async attempt(work: (signal: AbortSignal) => Promise<void>, kind = ""): Promise<void> {
    this.#working.get(kind)?.abort();
    const working = new AbortController();
    this.#working.set(kind, working);
    this.problem = undefined;
    this.busy = true;
    try {
      await work(working.signal);
    } catch (error) {
      if (!working.signal.aborted) this.problem = explain(error);
    } finally {
      if (this.#working.get(kind) === working) this.#working.delete(kind);
      this.busy = this.#working.size > 0;
    }
  }

  protected readonly cancel = (kind = "") => this.#working.get(kind)?.abort();

  protected alert(): TemplateResult {
    return html`<div role="alert">
      ${this.problem === undefined ? nothing : html`<p class="message">${this.problem}</p>`}
    </div>`;
  }
}

export function explain(error: unknown): string {
  if (error instanceof GossamerError) return `${error.message} ${advice(error)} (${error.code})`;
  return error instanceof Error ? error.message : String(error);
}

/** Runs a form's action in place of sending it. */
export function onSubmit(action: (form: HTMLFormElement) => unknown): (event: SubmitEvent) => void {
  return (event) => {
    event.preventDefault();
    action(event.currentTarget as HTMLFormElement);
  };
}

/** In place of a panel that cannot work yet: offers the page's own model of that role, and the others. */
export function modelWanted(what: string, role: Role): TemplateResult {
  const download = demo.downloads.get(role);
  const problem = demo.problems.get(role);
  return html`
    <div class="wanted">
      <p>
        ${what}
        ${
          download
            ? html`<span role="status">${arriving(download)}</span>`
            : html`<button type="button" @click=${() => demo.load(role)}>Load the page's ${role} model</button>`
        }
        <a class="button quiet" href="#load">Choose another</a>
      </p>
      ${problem === undefined ? nothing : html`<p class="message">${explain(problem)}</p>`}
    </div>
  `;
}

/** How much of a model has arrived. */
export function arriving({ loaded, total }: Download): string {
  if (total === undefined) return "Connecting…";
  return loaded < total ? `${size(loaded)} of ${size(total)}` : "Starting…";
}
