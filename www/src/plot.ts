/** Observable Plot, adapted to the page's security policy and colours. */

import { plot as draw, type PlotOptions } from "@observablehq/plot";

/**
 * Draws a figure. `label` describes it for screen readers. The page's policy forbids Plot's own
 * inline styles, so they are in style.css.
 */
export function plot(label: string, options: PlotOptions): SVGSVGElement | HTMLElement {
  const figure = draw({ className: "plot", ...options });
  const svg = figure instanceof SVGSVGElement ? figure : figure.querySelector("svg");
  for (const style of figure.querySelectorAll("style")) style.remove();
  // Screen readers read the figure as one image.
  for (const part of figure.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
  svg?.setAttribute("role", "img");
  svg?.setAttribute("aria-label", label);
  return figure;
}

/** A colour of style.css, for attributes that a style sheet does not set. */
export function colour(name: string): string {
  return `var(--${name})`;
}
