/** The two tables of results. */

import type { Encoded } from "gossamer-embed";

/** First numbers of a vector that are shown. */
const SHOWN = 6;

function cell(kind: "th" | "td", text: string, scope?: "row" | "col"): HTMLTableCellElement {
  const element = document.createElement(kind);
  element.textContent = text;
  if (scope) element.scope = scope;
  return element;
}

/** A number without the sign of a rounded zero. */
function number(value: number, digits: number): string {
  return value.toFixed(digits).replace(/^-(0\.0*)$/, "$1");
}

function row(...cells: HTMLTableCellElement[]): HTMLTableRowElement {
  const element = document.createElement("tr");
  element.append(...cells);
  return element;
}

function head(...titles: string[]): HTMLTableSectionElement {
  const element = document.createElement("thead");
  element.append(row(...titles.map((title) => cell("th", title, "col"))));
  return element;
}

function label(text: string, index: number): HTMLTableCellElement {
  const element = cell("th", `${index + 1}  ${text || "(empty)"}`, "row");
  element.title = text;
  return element;
}

/** Similarity of every pair, `[n, n]`, as numbers on a ground that is the darker the more alike the texts are. */
export function showHeatmap(table: HTMLTableElement, texts: string[], similarity: Float32Array): void {
  const body = document.createElement("tbody");
  texts.forEach((text, i) => {
    const cells = texts.map((_, j) => {
      const value = similarity[i * texts.length + j] ?? Number.NaN;
      const element = cell("td", number(value, 2));
      const share = Math.max(0, Math.min(1, value)) ** 1.5;
      element.style.setProperty("--share", share.toFixed(3));
      element.classList.toggle("strong", share > 0.62);
      return element;
    });
    body.append(row(label(text, i), ...cells));
  });
  table.replaceChildren(head("", ...texts.map((_, i) => String(i + 1))), body);
}

/** Tokens and first numbers of each vector. */
export function showVectors(table: HTMLTableElement, texts: string[], encoded: Encoded): void {
  const width = encoded.shape[1];
  const shown = Math.min(SHOWN, width);
  const titles = Array.from({ length: shown }, (_, i) => `[${i}]`);
  const body = document.createElement("tbody");
  texts.forEach((text, i) => {
    const vector = encoded.data.subarray(i * width, i * width + shown);
    const tokens = `${encoded.tokens[i]}${encoded.truncated[i] ? " (cut)" : ""}`;
    body.append(
      row(label(text, i), cell("td", tokens), ...Array.from(vector, (value) => cell("td", number(value, 4)))),
    );
  });
  table.replaceChildren(head("Text", "Tokens", ...titles), body);
}
