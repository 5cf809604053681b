/** The base class and the helpers of all panels. */

import { GossamerError } from "gossamer-embed";
import { html, LitElement, nothing, type TemplateResult } from "lit";
import { demo } from "./demo.js";
import type { Download } from "./download.js";
import { size } from "./format.js";
import { type Role, session } from "./session.js";

/** Moves the focus to the first of these selectors that matches. It may be no control. */
export function focusOn(parent: ParentNode, ...selectors: string[]): void {
  const [target] = selectors.flatMap((selector) => parent.querySelector<HTMLElement>(selector) ?? []);
  if (!target) return;
  if (!target.matches("a, button, input, select, textarea, summary, [tabindex]")) target.tabIndex = -1;
  target.focus();
}

/**
 * Whether the focus may be moved: nothing has it any more, or the button still has it that was
 * pressed.
 */
function isFocusFree(pressed: Element | null): boolean {
  const { activeElement } = document;
  if (!activeElement || activeElement === document.body) return true;
  return (
    activeElement.matches(":disabled, dialog") || (activeElement === pressed && pressed.matches("button"))
  );
}

/** Advice for this page, in addition to the package's message, which is about its API. */
function advice(error: GossamerError): string {
  if (error.status === 401 || error.status === 403) {
    return "The model is private or gated: accept its terms on huggingface.co, and enter an access token under “More options”.";
  }
  if (error.code === "offline") return "Try again to download it.";
  if (error.code === "network" && !navigator.onLine) {
    return "This browser is offline. Models that are kept on this device still load, and so do local files.";
  }
  if (isHubAway(error)) {
    return "The Hugging Face Hub cannot be reached from here: it is down, or a network blocks it. The page's own models and local files need no Hub.";
  }
  if (error.code === "network") {
    return "This page may only ask its own host and huggingface.co: other hosts have to be allowed by whoever serves it.";
  }
  if (error.code === "out_of_memory") {
    return "Choose fewer workers, 4 bits or a smaller model, or unload one that you no longer need.";
  }
  return "";
}

/** Whether the Hub itself does not answer. */
export function isHubAway(error: unknown): boolean {
  return (
    error instanceof GossamerError &&
    error.code === "network" &&
    /https:\/\/huggingface\.co.*Check the connection/s.test(error.message)
  );
}

/**
 * A panel renders into the document instead of a shadow root, so that all share one style sheet and
 * labels work across panels.
 */
export abstract class Panel extends LitElement {
  static override properties: Record<string, object> = {
    busy: { state: true },
    problem: { state: true },
    said: { state: true },
  };
  /** Whether an action of a button is in progress. */
  declare protected busy: boolean;
  declare protected problem: string | undefined;
  /** What a screen reader announces: what has appeared. */
  declare protected said: string | undefined;
  /** The work in progress, by kind. New work aborts earlier work of the same kind. */
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

  /**
   * Runs the action of a button, aborts earlier work of the same kind, and shows errors. The focus
   * then goes to the error, or to the first of `appears` that is there, unless the visitor has
   * moved on.
   */
  protected async attempt(
    work: (signal: AbortSignal) => Promise<void>,
    { kind = "", appears = [] }: { kind?: string; appears?: string[] } = {},
  ): Promise<void> {
    this.#working.get(kind)?.abort();
    const working = new AbortController();
    this.#working.set(kind, working);
    this.problem = undefined;
    this.busy = true;
    const pressed = document.activeElement;
    try {
      await work(working.signal);
    } catch (error) {
      if (!working.signal.aborted) this.problem = explain(error);
    } finally {
      if (this.#working.get(kind) === working) this.#working.delete(kind);
      this.busy = this.#working.size > 0;
    }
    await this.updateComplete;
    if (isFocusFree(pressed))
      focusOn(this, ...(this.problem === undefined ? appears : ["[role=alert] .message"]));
  }

  protected readonly cancel = (kind = "") => this.#working.get(kind)?.abort();

  /** Errors, and what is announced. */
  protected alert(more: TemplateResult | typeof nothing = nothing): TemplateResult {
    return html`<div role="alert">
        ${this.problem === undefined ? nothing : html`<p class="message">${this.problem} ${more}</p>`}
      </div>
      <p class="sr-only" role="status">${this.said}</p>`;
  }
}

export function explain(error: unknown): string {
  if (error instanceof GossamerError) return `${error.message} ${advice(error)} (${error.code})`;
  return error instanceof Error ? error.message : String(error);
}

/** An event handler that runs an action instead of sending the form. */
export function onSubmit(action: (form: HTMLFormElement) => unknown): (event: SubmitEvent) => void {
  return (event) => {
    event.preventDefault();
    action(event.currentTarget as HTMLFormElement);
  };
}

/**
 * Shown while a panel has no model: offers the page's own model of that role, or to choose another.
 */
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
        <a class="button quiet" href="#load">Choose another…</a>
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
