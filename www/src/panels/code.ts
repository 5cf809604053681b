/** Shows the code that does what this page does. */

import { html, type TemplateResult } from "lit";
import { OFFERS } from "../models.js";
import { Panel } from "../panel.js";
import { type LoadedModel, session } from "../session.js";

class CodePanel extends Panel {
  static override properties = { ...Panel.properties, copied: { state: true } };
  declare private copied: string | undefined;

  protected override render(): TemplateResult {
    const { dense, sparse } = session;
    const model = dense ?? sparse;
    const kind = dense ? "dense" : sparse ? "sparse" : "dense";
    const source = JSON.stringify(model ? sourceOf(model) : OFFERS[0]?.id);
    return html`
      <h2>The code</h2>
      <p class="lead">
        ${model ? `What this page does with ${model.name}` : "What this page does once a model is loaded"}, in your own app.
      </p>
      ${this.alert()} ${this.#snippet("In a page or in Node", "npm install gossamer-embed", page(source, kind, model))}
      ${this.#snippet("In an edge worker", "Models and wasm run where the request is answered", worker(source))}
      ${this.#snippet("With the OpenAI client", "npm install openai gossamer-embed", openai(source))}
    `;
  }

  #snippet(title: string, note: string, code: string): TemplateResult {
    return html`
      <article class="snippet">
        <header>
          <h3>${title}</h3>
          <p class="hint">${note}</p>
          <button type="button" class="quiet" @click=${() => this.#copy(title, code)}>
            ${this.copied === title ? "Copied" : "Copy"}
          </button>
        </header>
        <pre tabindex="0" role="group" aria-label=${title}><code>${code}</code></pre>
      </article>
    `;
  }

  readonly #copy = (title: string, code: string) =>
    this.attempt(async () => {
      await navigator.clipboard.writeText(code);
      this.copied = title;
    });
}

/** The argument of `load` in another program. */
function sourceOf({ source, name }: LoadedModel): string {
  if (OFFERS.some(({ id }) => id === name)) return name;
  return typeof source === "string" ? source : `./${name}`;
}

function page(source: string, kind: "dense" | "sparse", model: LoadedModel | undefined): string {
  const { device = "cpu", dtype = "auto", workers = 1, file } = model?.options ?? {};
  // The revision of the files that come with this page does not exist on the Hub.
  const bundled = OFFERS.some(({ bundled }) => bundled?.address === model?.source);
  const revision = bundled ? undefined : model?.options.revision;
  const choices = { ...(device !== "cpu" && { device }), ...(dtype !== "auto" && { dtype }) };
  const options = Object.entries({ workers, ...choices, revision, file })
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  const head = `import { load } from "gossamer-embed";

const embedder = await load(${source}, { ${options.join(", ")} });
`;
  if (kind === "sparse") {
    return `${head}
const documents = await embedder.encodeSparse(passages, { task: "document" });
const [query] = await embedder.encodeSparse("where do ships sleep?", { task: "query", labels: true });
const scores = documents.map((document) => embedder.similarity(query, document));`;
  }
  return `${head}
const documents = await embedder.encode(passages, { task: "document" });
const query = await embedder.encode("where do ships sleep?", { task: "query" });
const scores = embedder.similarity(query, documents).data;`;
}

function worker(source: string): string {
  return `import { serve } from "gossamer-embed";

// POST /v1/embeddings, /embed_sparse and others, as OpenAI, TEI and Chroma have them
export default serve({ models: { default: ${source} } });`;
}

function openai(source: string): string {
  return `import OpenAI from "openai";
import { load } from "gossamer-embed";

const embedder = await load(${source});
const client = new OpenAI({ apiKey: "unused", fetch: embedder.fetch });
const answer = await client.embeddings.create({ model: "any", input: ["Ships at night"] });`;
}

customElements.define("gossamer-code", CodePanel);
