/** Observable Plot, as the page's policy and colours want it. */

import { plot as draw, type PlotOptions } from "@observablehq/plot";

/**
 * Draws a figure. `label` says in words what it shows. Plot's own rules, which the policy of the page refuses, are
 * in style.css.
 */
export function plot(label: string, options: PlotOptions): SVGSVGElement | HTMLElement {
  const figure = draw({ className: "plot", ...options });
  const svg = figure instanceof SVGSVGElement ? figure : figure.querySelector("svg");
  for (const style of figure.querySelectorAll("style")) style.remove();
  // A picture is read out as a whole.
  for (const part of figure.querySelectorAll("[aria-label]")) part.removeAttribute("aria-label");
  svg?.setAttribute("role", "img");
  svg?.setAttribute("aria-label", label);
  return figure;
}

/** A colour of style.css, for where a style sheet does not reach. */
export function colour(name: string): string {
  return `var(--${name})`;
}
